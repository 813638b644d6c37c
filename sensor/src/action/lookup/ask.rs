//! Who is asked: lists of this host, its packages, VirusTotal.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    path::Path,
    thread,
    time::Duration,
};

use super::{Item, Lookup};
use crate::{
    config,
    format::text::escape,
    host::Host,
    package::{Compared, Packages},
    procfs::Reader,
    record::Text,
    reputation::{
        Answer, Verdict, World,
        cache::{Cache, Kept},
        lists,
        pace::Pace,
        virustotal::{self, Known, Service},
    },
    shelf::Shelf,
    trusted::Key,
};

/// How long it is remembered that nobody knows a file: it may have been new.
const UNKNOWN_MOST_S: u64 = 3600;

/// Whether a process's paths are ours.
pub(super) fn lives_with_us(host: &Host, pid: u32) -> bool {
    let reader = Reader::new(host.proc());
    let own = reader.own_mount_namespace();
    own.is_some()
        && own == reader.seen(pid).and_then(|seen| reader.actor(&seen, |_| None).mount_namespace().into())
}

/// What the lists say, bad ones first.
pub(super) fn lists(config: &config::Lookup, items: &mut [Item], parts: &mut Vec<String>) {
    let hashes: Vec<Text> = items.iter().map(|item| item.sha256.clone()).collect();
    let kinds = [
        (&config.known_bad, Verdict::Malicious, "it is on a list of bad files"),
        (&config.known_good, Verdict::KnownGood, "it is on a list of good files"),
    ];
    for (paths, verdict, detail) in kinds {
        for path in paths {
            let name = escape(path.as_os_str().as_encoded_bytes());
            match lists::search(path, &hashes) {
                Ok(found) => {
                    let listed = items.iter_mut().filter(|item| found.listed.contains(&item.sha256));
                    let source = path.display().to_string();
                    listed.for_each(|item| item.answers.push(Answer::local(&source, verdict, detail)));
                    if found.odd_lines != 0 {
                        parts.push(format!(
                            "{} lines of the list {name}, which are no SHA-256",
                            found.odd_lines
                        ));
                    }
                }
                Err(why) => parts.push(format!("the list {name}: {why}")),
            }
        }
    }
}

/// What the records of packages say.
pub(super) fn packages(root: &Path, items: &mut [Item]) {
    let prints: Vec<_> = items.iter().filter_map(|item| Some(item.hashed.as_ref()?.1.clone())).collect();
    if prints.is_empty() {
        return;
    }
    let compared = Packages::new(root).compare(&prints);
    let hashed = items.iter_mut().filter(|item| item.hashed.is_some());
    for (item, compared) in hashed.zip(compared) {
        item.answers.extend(compared.map(|compared| of_package(&compared)));
    }
}

fn of_package(compared: &Compared) -> Answer {
    match compared {
        Compared::Same { package, path } => {
            let digest = if package.kind == "deb" { "MD5" } else { "digest" };
            let (name, path) = (package.name.to_str_lossy(), path.to_str_lossy());
            let detail = format!(
                "the package {name} brought it as {path} (by the {digest} on record here, which root could have changed)"
            );
            Answer::local(package.kind, Verdict::KnownGood, detail)
        }
        Compared::Differs { package } => {
            let name = package.name.to_str_lossy();
            let detail =
                format!("the package {name} brought another file of this name: it was changed since");
            Answer::local(package.kind, Verdict::Suspicious, detail)
        }
    }
}

/// What VirusTotal says of those on which nobody here has decided.
pub(super) fn virustotal(
    config: &config::Lookup,
    url: &str,
    args: &Lookup,
    host: &Host,
    items: &mut [Item],
    parts: &mut Vec<String>,
) {
    let open: Vec<&mut Item> = items.iter_mut().filter(|item| args.always || !item.decided()).collect();
    if open.is_empty() {
        return;
    }
    let key = Key::read(&config.key_file);
    let shelf = config.folder.get().and_then(|folder| match Shelf::make(folder) {
        Ok(shelf) => Some(shelf),
        Err(error) => {
            say!(
                "VirusTotal's answers aren't kept, and how often it is asked counts for this run alone: {}: {error}",
                escape(folder.as_os_str().as_encoded_bytes())
            );
            None
        }
    });
    let (cache, broken) = Cache::open(shelf.clone(), url);
    broken.iter().for_each(|broken| say!("{broken}"));
    let service = key.map(|key| {
        let timeout = Duration::from_secs(config.timeout_s.get());
        Service::new(url, key, timeout, Duration::from_secs(config.patience_s))
    });
    let service = service.map_err(|why| {
        format!("it has no key: {}: {why}", escape(config.key_file.as_os_str().as_encoded_bytes()))
    });
    let pace = Pace::new(config.per_minute.get(), shelf);
    let clock = Clock { host, terminal: std::io::stderr().is_terminal() };
    let mut asking = Asking { config, fresh: args.fresh, service, cache, pace, clock, known: HashMap::new() };
    for item in open {
        match asking.ask(&item.sha256) {
            Ok(answer) => item.answers.push(answer),
            Err(why) => {
                parts.push(format!("VirusTotal on {}: {why}", item.name));
                // What failed once would keep us waiting for each of the others.
                asking.service = Err(why);
            }
        }
    }
}

struct Asking<'a> {
    config: &'a config::Lookup,
    fresh: bool,
    service: Result<Service, String>,
    cache: Cache,
    pace: Pace,
    clock: Clock<'a>,
    /// What was asked in this run.
    known: HashMap<Text, Option<Known>>,
}

impl Asking<'_> {
    fn ask(&mut self, sha256: &Text) -> Result<Answer, String> {
        let enough = self.config.engines.get();
        if let Some(known) = self.known.get(sha256) {
            return Ok(virustotal::answer(known.as_ref(), enough, None));
        }
        let now = self.clock.now_ms() / 1000;
        if !self.fresh
            && let Some(kept) = self.kept(sha256, now)
        {
            let age = Some(now.saturating_sub(kept.when));
            return Ok(virustotal::answer(kept.known.as_ref(), enough, age));
        }
        let service = self.service.as_ref().map_err(Clone::clone)?;
        let known = service.ask(sha256, &mut self.pace, &mut self.clock)?;
        let kept = Kept { when: self.clock.now_ms() / 1000, known: known.clone() };
        if let Err(error) = self.cache.put(sha256, kept) {
            say!("VirusTotal's answer can't be kept: {error}");
        }
        let answer = virustotal::answer(known.as_ref(), enough, None);
        self.known.insert(sha256.clone(), known);
        Ok(answer)
    }

    fn kept(&self, sha256: &Text, now: u64) -> Option<&Kept> {
        let most = self.config.max_age_s;
        let kept = self.cache.get(sha256, now, most)?;
        let most = if kept.known.is_some() { most } else { most.min(UNKNOWN_MOST_S) };
        (now.saturating_sub(kept.when) <= most).then_some(kept)
    }
}

/// The host's clock, and a line on standard error while time passes.
struct Clock<'a> {
    host: &'a Host,
    terminal: bool,
}

impl World for Clock<'_> {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.host.now().0 / 1_000_000).unwrap_or(0)
    }

    fn wait(&mut self, how_long: Duration, why: &str) {
        if !self.terminal {
            say!("VirusTotal: {why}; waiting {} s", how_long.as_secs_f64().ceil());
            return thread::sleep(how_long);
        }
        let mut left = how_long;
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(1));
            let seconds = left.as_secs_f64().ceil();
            let line = format!("\r\x1b[Ksensor: VirusTotal: {why}; waiting {seconds} s ");
            let _: std::io::Result<()> = std::io::stderr().write_all(line.as_bytes());
            thread::sleep(step);
            left = left.saturating_sub(step);
        }
        let _: std::io::Result<()> = std::io::stderr().write_all(b"\r\x1b[K");
    }
}
