//! What a service answered before: bounded, with its age, and of that service alone.

use std::{collections::HashMap, io};

use super::virustotal::Known;
use crate::{record::Text, shelf::Shelf};

const FILE: &str = "answers";
/// The first word of its first line; the address of the service follows.
const HEAD: &str = "sensor answers 1 ";
/// Most answers; of more, those that were got longest ago go.
const MOST: usize = 100_000;

/// An answer, and when it was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Seconds since the epoch.
    pub when: u64,
    /// None: the service didn't know it.
    pub known: Option<Known>,
}

/// All that is kept.
#[derive(Debug, Default)]
pub struct Cache {
    shelf: Option<Shelf>,
    url: String,
    answers: HashMap<Text, Kept>,
}

impl Cache {
    /// What lies there of the service at this address, and what is wrong with it, if anything is.
    #[must_use]
    pub fn open(shelf: Option<Shelf>, url: &str) -> (Self, Option<String>) {
        let mut cache = Self { shelf, url: url.to_owned(), answers: HashMap::new() };
        let wrong = match cache.shelf.as_ref().map(|shelf| shelf.read(FILE)) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(text))) => cache.take(&text).err().map(|line| format!("line {line} is broken")),
            Some(Err(error)) => Some(error.to_string()),
        };
        let aside = wrong.map(|wrong| match cache.shelf.as_ref().map(|shelf| shelf.set_aside(FILE)) {
            Some(Ok(aside)) => {
                format!(
                    "the answers of before can't be used ({wrong}); they were put aside as {}",
                    aside.display()
                )
            }
            _ => format!("the answers of before can't be used: {wrong}"),
        });
        if aside.is_some() {
            cache.answers.clear();
        }
        (cache, aside)
    }

    /// Those of another service are of no use, and not broken; else the number of the first line that is.
    fn take(&mut self, text: &str) -> Result<(), usize> {
        let mut lines = text.lines();
        let url = lines.next().and_then(|line| line.strip_prefix(HEAD)).ok_or(1_usize)?;
        // Each line is written with its end: one that was torn off shows.
        if !text.ends_with('\n') {
            return Err(text.lines().count());
        }
        if url != self.url {
            return Ok(());
        }
        for (at, line) in lines.enumerate() {
            let (sha256, kept) = parse(line).ok_or(at + 2)?;
            self.answers.insert(sha256, kept);
        }
        Ok(())
    }

    /// What was answered, unless that is too long ago.
    #[must_use]
    pub fn get(&self, sha256: &Text, now: u64, max_age_s: u64) -> Option<&Kept> {
        let kept = self.answers.get(sha256)?;
        // From the future: the clock was set since, and nobody knows how old it is.
        (kept.when <= now && now - kept.when <= max_age_s).then_some(kept)
    }

    /// Keeps an answer, beside what others kept meanwhile.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put(&mut self, sha256: &Text, kept: Kept) -> io::Result<()> {
        let Some(shelf) = self.shelf.clone() else { return Ok(()) };
        let _lock = shelf.lock()?;
        if let Ok(Some(text)) = shelf.read(FILE) {
            // What is broken was put aside at the start; what broke since is written anew.
            let _: Result<(), usize> = self.take(&text);
        }
        self.answers.insert(sha256.clone(), kept);
        let mut all: Vec<(&Text, &Kept)> = self.answers.iter().collect();
        all.sort_unstable_by_key(|(sha256, kept)| (std::cmp::Reverse(kept.when), *sha256));
        let lines = all.into_iter().take(MOST).map(|(sha256, kept)| line(sha256, kept));
        shelf.replace(FILE, &format!("{HEAD}{}\n{}", self.url, lines.collect::<String>()))
    }
}

/// Hash, time, and what is known: four numbers, and a label to the end.
fn line(sha256: &Text, kept: &Kept) -> String {
    let sha256 = sha256.to_str_lossy();
    match &kept.known {
        None => format!("{sha256} {} unknown\n", kept.when),
        Some(Known { malicious, suspicious, engines, analysed, label }) => {
            format!("{sha256} {} {malicious} {suspicious} {engines} {analysed} {label}\n", kept.when)
        }
    }
}

fn parse(line: &str) -> Option<(Text, Kept)> {
    let mut words = line.splitn(7, ' ');
    let sha256 =
        words.next().filter(|word| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let when = words.next()?.parse().ok()?;
    let first = words.next()?;
    let known = if first == "unknown" {
        if words.next().is_some() {
            return None;
        }
        None
    } else {
        let mut number = || words.next()?.parse().ok();
        let (suspicious, engines, analysed) = (number()?, number()?, number()?);
        let malicious = first.parse().ok()?;
        Some(Known { malicious, suspicious, engines, analysed, label: words.next()?.to_owned() })
    };
    Some((Text::copy_from(sha256.as_bytes()), Kept { when, known }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn answers_outlive_the_run_and_broken_ones_are_put_aside() {
        let folder = std::env::temp_dir().join(format!("sensor-cache-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let shelf = Shelf::make(&folder).unwrap();
        let open = |url| Cache::open(Some(shelf.clone()), url);
        let (one, two) = (Text::from("1".repeat(64)), Text::from("2".repeat(64)));
        let label = "trojan.linux/x y".to_owned();
        let known = Some(Known { malicious: 3, suspicious: 1, engines: 70, analysed: 9, label });
        let (mut cache, mut other) = (open("u").0, open("u").0);
        cache.put(&one, Kept { when: 100, known: known.clone() }).unwrap();
        other.put(&two, Kept { when: 200, known: None }).unwrap();
        let (cache, wrong) = open("u");
        assert_eq!(wrong, None);
        assert_eq!(cache.get(&one, 150, 50).unwrap().known, known);
        assert_eq!(cache.get(&two, 200, 0).unwrap().known, None);
        assert!(cache.get(&one, 151, 50).is_none(), "too old");
        assert!(cache.get(&two, 199, 50).is_none(), "from the future");
        assert!(open("v").0.get(&one, 150, 50).is_none(), "of another service");
        let whole = fs::read_to_string(folder.join(FILE)).unwrap();
        for torn in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            fs::write(folder.join(FILE), &whole[..torn]).unwrap();
            let (cache, wrong) = open("u");
            let whole_lines = whole[..torn].ends_with('\n');
            assert_eq!(wrong.is_none(), whole_lines, "{torn}");
            assert_eq!(folder.join(FILE).exists(), whole_lines);
            assert!(whole_lines || cache.answers.is_empty());
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
