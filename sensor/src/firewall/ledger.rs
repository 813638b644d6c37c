//! The rules on record: written before a rule is put in force, so that none is ever without one.
//!
//! What is to outlive the boot stands below /var/lib, all else below /run. Only a confirmed rule goes to /var/lib: a host
//! that is started anew to get in again must not shut itself once more.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, OFlag};

use super::rule::{Id, Rule};
use crate::shelf::Shelf;

const RUN: &str = "run/sensor/rules";
const KEPT: &str = "var/lib/sensor/rules";
const END: &str = ".rule";
/// What guards did, and the one before it.
const TOLD: &str = "run/sensor/contain.ndjson";
const TOLD_BEFORE: &str = "run/sensor/contain.ndjson.1";
/// Most bytes of it.
const TOLD_MOST: u64 = 1024 * 1024;
/// Most of what they did that is shown.
const SHOWN_MOST: usize = 5;

/// The records.
#[derive(Debug)]
pub struct Ledger {
    root: PathBuf,
    run: Shelf,
    kept: Shelf,
}

/// What is on record.
#[derive(Debug, Default)]
pub struct Known {
    /// The rules, the oldest first.
    pub rules: Vec<Rule>,
    /// Records that can't be read, a sentence each.
    pub broken: Vec<String>,
}

impl Ledger {
    /// Opens it, and makes its folders where they aren't there.
    ///
    /// # Errors
    /// When one can't be made or isn't ours alone, with its path.
    pub fn open(root: &Path) -> io::Result<Self> {
        let make = |path: &str| {
            let path = root.join(path);
            Shelf::make(&path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
        };
        Ok(Self { root: root.to_owned(), run: make(RUN)?, kept: make(KEPT)? })
    }

    /// Holds off all others who change rules, until what is returned is dropped.
    ///
    /// # Errors
    /// When it can't be locked.
    pub fn lock(&self) -> io::Result<Flock<File>> {
        self.run.lock()
    }

    /// All rules.
    ///
    /// # Errors
    /// When they can't be listed.
    pub fn all(&self) -> io::Result<Known> {
        let mut known = Known::default();
        for shelf in [&self.run, &self.kept] {
            for name in shelf.names(END)? {
                match read(shelf, &name) {
                    Ok(Some(rule)) => known.rules.push(rule),
                    Ok(None) => {}
                    Err(why) => known.broken.push(format!("the record {name}: {why}")),
                }
            }
        }
        known.rules.sort_by(|a, b| (a.made, &a.id).cmp(&(b.made, &b.id)));
        // One that was being moved is in both.
        known.rules.dedup_by(|a, b| a.id == b.id);
        Ok(known)
    }

    /// One rule.
    ///
    /// # Errors
    /// When its record can't be read.
    pub fn get(&self, id: &Id) -> Result<Option<Rule>, String> {
        let name = format!("{id}{END}");
        match read(&self.kept, &name)? {
            Some(rule) => Ok(Some(rule)),
            None => read(&self.run, &name),
        }
    }

    /// Puts a rule on record, in place of what stood there of it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put(&self, rule: &Rule) -> io::Result<()> {
        let text = serde_json::to_string(rule).map_err(io::Error::other)?;
        let name = format!("{}{END}", rule.id);
        let (to, other) = match rule.persist && rule.confirm_by.is_none() {
            true => (&self.kept, &self.run),
            false => (&self.run, &self.kept),
        };
        to.replace(&name, &text)?;
        other.remove(&name)
    }

    /// Strikes a rule.
    ///
    /// # Errors
    /// When it can't be.
    pub fn remove(&self, id: &Id) -> io::Result<()> {
        let name = format!("{id}{END}");
        self.kept.remove(&name)?;
        self.run.remove(&name)
    }

    /// Where guards tell what they did, to be written to; what is there is bounded.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn told(&self) -> io::Result<File> {
        let path = self.root.join(TOLD);
        if fs::symlink_metadata(&path).is_ok_and(|facts| facts.len() > TOLD_MOST) {
            fs::rename(&path, self.root.join(TOLD_BEFORE))?;
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags.bits()).open(path)
    }

    /// The last that they did, a sentence each.
    #[must_use]
    pub fn last_told(&self) -> Vec<String> {
        let text = fs::read(self.root.join(TOLD)).unwrap_or_default();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let told = |line: &&[u8]| {
            let event: serde_json::Value = serde_json::from_slice(line).ok()?;
            let (at, target) =
                (event["@timestamp"].as_str()?, event["sensor"]["contain"]["target"].as_str()?);
            let (id, reason) = (event["sensor"]["rule"]["id"].as_str()?, event["sensor"]["reason"].as_str()?);
            Some(format!("{} rule {id}, {target}: {reason}", at.get(..19)?))
        };
        lines
            .get(lines.len().saturating_sub(SHOWN_MOST)..)
            .unwrap_or_default()
            .iter()
            .filter_map(told)
            .collect()
    }
}

fn read(shelf: &Shelf, name: &str) -> Result<Option<Rule>, String> {
    let text = shelf.read(name).map_err(|error| error.to_string())?;
    let Some(text) = text else { return Ok(None) };
    let rule: Rule = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match name.strip_suffix(END) == Some(rule.id.as_str()) {
        true => Ok(Some(rule)),
        false => Err(format!("it is of the rule {}", rule.id)),
    }
}

/// Bits that nobody can foresee, for the name of a rule.
///
/// # Errors
/// When the kernel gives none.
pub fn new_id() -> io::Result<Id> {
    let mut bits = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(Id::of(u32::from_ne_bytes(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::rule::{Moment, Scope, Way};

    fn rule(id: u32, made: i64) -> Rule {
        Rule {
            id: Id::of(id),
            scope: Scope::Isolate,
            allow: Vec::new(),
            kept: Vec::new(),
            reason: None,
            made,
            netns: 1,
            boot: "boot".to_owned(),
            way: Way::Nftables,
            applied: true,
            confirm_by: Some(Moment { boot: "boot".to_owned(), since_boot: 1, epoch: 1 }),
            until: None,
            persist: true,
            guard: None,
        }
    }

    #[test]
    fn only_a_confirmed_rule_outlives_the_boot_and_damage_is_told() {
        let root = std::env::temp_dir().join(format!("sensor-ledger-{}", std::process::id()));
        for folder in ["run", "var/lib"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let ledger = Ledger::open(&root).unwrap();
        let mut one = rule(1, 2);
        ledger.put(&one).unwrap();
        let kept = root.join(KEPT).join("00000001.rule");
        assert!(!kept.exists());
        one.confirm_by = None;
        ledger.put(&one).unwrap();
        assert!(kept.exists() && !root.join(RUN).join("00000001.rule").exists());
        ledger.put(&rule(2, 1)).unwrap();
        fs::copy(&kept, root.join(KEPT).join("00000003.rule")).unwrap();
        fs::write(root.join(RUN).join("00000004.rule"), "{").unwrap();
        let known = ledger.all().unwrap();
        assert_eq!(
            known.rules.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(),
            ["00000002", "00000001"]
        );
        assert_eq!(known.broken.len(), 2, "{:?}", known.broken);
        assert_eq!(ledger.get(&Id::of(1)), Ok(Some(one)));
        ledger.remove(&Id::of(1)).unwrap();
        assert_eq!(ledger.get(&Id::of(1)), Ok(None));
        assert_ne!(new_id().unwrap(), new_id().unwrap());
        fs::remove_dir_all(&root).unwrap();
    }
}
