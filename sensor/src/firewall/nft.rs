//! The way of nftables: one table of the sensor's own, read and written through nft's JSON. Nobody else runs nft.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::rule::{Id, Rule};
use crate::{background, trusted};

mod read;
mod write;

pub(super) use read::Table;

/// The table.
pub(super) const TABLE: &str = "sensor";
/// The comment that says whose it is.
const MARK: &str = "made by: sensor port";
/// Where nft is; nowhere else is looked, least of all where the environment says.
const PLACES: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"];
/// How long it may take, and how often it is asked whether it is done.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(2);
/// Most bytes that it may say.
const MOST: u64 = 16 * 1024 * 1024;
/// Most characters of its complaint that are told.
const COMPLAINT: usize = 400;

/// The comment of all that belongs to a rule.
fn mark(id: &Id) -> String {
    format!("sensor rule {id}")
}

/// Why it can't be had this way.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum NftError {
    #[error("nft isn't there (package nftables)")]
    Absent,
    #[error("{0}: others than root may write to it, so it isn't run")]
    NotTrusted(PathBuf),
    #[error("running nft: {0}")]
    Run(io::Error),
    #[error("nft doesn't answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("nft refuses: {0}")]
    Refused(String),
    #[error("nft's answer is not understood")]
    Malformed,
    #[error(
        "there is a table inet {TABLE} that the sensor didn't make, and it is left alone: rename it (nft list table inet {TABLE})"
    )]
    NotOurs,
    #[error("the rule was put there and reads otherwise: {0}")]
    Amiss(String),
}

/// nft.
#[derive(Clone, Debug)]
pub struct Nft(PathBuf);

impl Nft {
    /// Looks for it, and whether it and the kernel can do what is needed.
    ///
    /// # Errors
    /// When one of them can't.
    pub fn find() -> Result<Self, NftError> {
        let path = PLACES.into_iter().map(Path::new).find(|path| path.exists()).ok_or(NftError::Absent)?;
        let real = fs::canonicalize(path).map_err(NftError::Run)?;
        if !trusted::is_roots(&real) {
            return Err(NftError::NotTrusted(real));
        }
        let nft = Self(real);
        nft.ask(&["-j", "list", "tables"])?;
        Ok(nft)
    }

    /// The sensor's table; nothing where there is none.
    ///
    /// # Errors
    /// When it can't be read, or isn't the sensor's.
    pub(super) fn table(&self) -> Result<Option<Table>, NftError> {
        if !self.is_there()? {
            return Ok(None);
        }
        match self.ask(&["-j", "list", "table", "inet", TABLE]) {
            Ok(told) => match Table::of(&told) {
                table if table.is_ours() => Ok(Some(table)),
                _ => Err(NftError::NotOurs),
            },
            // A guard may have taken the last rule out meanwhile.
            Err(NftError::Refused(_)) if !self.is_there()? => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a table of that name.
    fn is_there(&self) -> Result<bool, NftError> {
        let tables = self.ask(&["-j", "list", "tables"])?;
        let own = |told: &Value| told["table"]["family"] == "inet" && told["table"]["name"] == TABLE;
        Ok(tables["nftables"].as_array().is_some_and(|all| all.iter().any(own)))
    }

    /// Asks the kernel whether it would take a rule, and changes nothing.
    ///
    /// # Errors
    /// When it wouldn't.
    pub(super) fn check(&self, rule: &Rule) -> Result<(), NftError> {
        let first = self.table()?.is_none();
        self.tell(&["--check"], &write::make(rule, first, None))
    }

    /// Puts a rule in force for so long, all of it or nothing, and looks whether it stands there.
    ///
    /// # Errors
    /// When it doesn't: then nothing of it is there.
    pub(super) fn apply(&self, rule: &Rule, lasts: Option<Duration>) -> Result<(), NftError> {
        let first = self.table()?.is_none();
        let commands = write::make(rule, first, lasts);
        self.tell(&["--check"], &commands)?;
        self.tell(&[], &commands)?;
        let amiss = match self.table()? {
            Some(table) => table.verify(rule),
            None => Err("the table isn't there".to_owned()),
        };
        amiss.map_err(|amiss| {
            let undone = self.undo(&rule.id).map_err(|error| format!("{amiss}; taking it back: {error}"));
            NftError::Amiss(undone.err().unwrap_or(amiss))
        })
    }

    /// Gives a rule another time.
    ///
    /// # Errors
    /// When it isn't there.
    pub(super) fn prolong(&self, id: &Id, lasts: Option<Duration>) -> Result<(), NftError> {
        self.tell(&[], &write::prolong(id, lasts))
    }

    /// Takes a rule out; nothing is done where it isn't there.
    ///
    /// # Errors
    /// When it can't be.
    pub(super) fn undo(&self, id: &Id) -> Result<(), NftError> {
        match self.table()? {
            Some(table) if table.rules().contains_key(id) => self.tell(&[], &table.without(id)),
            _ => Ok(()),
        }
    }

    fn ask(&self, words: &[&str]) -> Result<Value, NftError> {
        let told = self.run(words, &[])?;
        serde_json::from_slice(&told).map_err(|_| NftError::Malformed)
    }

    fn tell(&self, words: &[&str], commands: &[Value]) -> Result<(), NftError> {
        let text = json!({"nftables": commands}).to_string();
        let words = [words, &["-j", "-f", "-"]].concat();
        self.run(&words, text.as_bytes()).map(drop)
    }

    /// Runs it with nothing of our environment.
    fn run(&self, words: &[&str], input: &[u8]) -> Result<Vec<u8>, NftError> {
        let mut child = Command::new(&self.0)
            .args(words)
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(NftError::Run)?;
        let mut stdin = child.stdin.take();
        let said = background::read("nft", child.stdout.take(), MOST);
        let complaint = background::read("nft", child.stderr.take(), MOST);
        // One that ends early says why by itself.
        let _: Option<io::Result<()>> = stdin.as_mut().map(|stdin| stdin.write_all(input));
        drop(stdin);
        let status = wait(&mut child)?;
        let (said, complaint) = (heard(&said)?, heard(&complaint)?);
        match status {
            true => Ok(said),
            false => Err(NftError::Refused(first_line(&complaint))),
        }
    }
}

/// What came; what is cut isn't understood.
fn heard(told: &Receiver<io::Result<Vec<u8>>>) -> Result<Vec<u8>, NftError> {
    let told = told.recv().map_err(|_| io::Error::other("there is no thread to read its answer by"));
    told.and_then(|bytes| bytes).map_err(NftError::Run)
}

/// Whether it ended well.
fn wait(child: &mut Child) -> Result<bool, NftError> {
    let mut left = PATIENCE.as_millis() / STEP.as_millis();
    loop {
        if let Some(status) = child.try_wait().map_err(NftError::Run)? {
            return Ok(status.success());
        }
        if left == 0 {
            child.kill().and_then(|()| child.wait()).map_err(NftError::Run)?;
            return Err(NftError::Late);
        }
        left -= 1;
        thread::sleep(STEP);
    }
}

fn first_line(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it ended without a word");
    line.chars().take(COMPLAINT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::rule::{Connection, Scope, Way};

    fn rule(scope: Scope) -> Rule {
        Rule {
            id: Id::of(0xabcd),
            scope,
            allow: ["10.0.0.0/8", "192.0.2.7", "fd00::/8"].map(|range| range.parse().unwrap()).to_vec(),
            kept: vec![Connection {
                local: "10.0.0.1:22".parse().unwrap(),
                remote: "192.0.2.9:5".parse().unwrap(),
            }],
            reason: None,
            made: 0,
            netns: 1,
            boot: String::new(),
            way: Way::Nftables,
            applied: true,
            confirm_by: None,
            until: None,
            persist: false,
            guard: None,
        }
    }

    /// What nft lists of commands: the objects without what they are done.
    fn listed(commands: &[Value]) -> Table {
        let objects = commands.iter().map(|command| command["add"].clone());
        let mut all: Vec<Value> = objects.filter(|object| object.get("element").is_none()).collect();
        for object in &mut all {
            if let Some(set) = object.get_mut("set") {
                set["elem"] = json!(["ipv4"]);
            }
        }
        Table::of(&json!({"nftables": all}))
    }

    #[test]
    fn a_rule_is_found_again_and_a_changed_one_noticed() {
        for scope in [Scope::Close("80".parse().unwrap()), Scope::Isolate] {
            let rule = rule(scope);
            let table = listed(&write::make(&rule, true, None));
            assert!(table.is_ours());
            assert_eq!(table.verify(&rule), Ok(()));
            assert_eq!(table.rules().into_iter().collect::<Vec<_>>(), [(rule.id.clone(), true)]);
            let other = Rule { allow: vec!["11.0.0.0/8".parse().unwrap(); 3], ..rule.clone() };
            assert!(table.verify(&other).is_err());
            let fewer = Rule { allow: rule.allow[..2].to_vec(), ..rule.clone() };
            assert!(table.verify(&fewer).is_err());
            let absent = Rule { id: Id::of(1), ..rule.clone() };
            assert!(table.verify(&absent).is_err());
        }
        assert!(!listed(&write::make(&rule(Scope::Isolate), false, None)).is_ours(), "nobody said so");
    }

    #[test]
    fn the_last_rule_takes_the_table_along_and_no_other_does() {
        let (one, mut two) = (rule(Scope::Isolate), rule(Scope::Close("80".parse().unwrap())));
        let alone = listed(&write::make(&one, true, None));
        assert_eq!(alone.without(&one.id).len(), 1);
        two.id = Id::of(0xabcde);
        let both = listed(&[write::make(&one, true, None), write::make(&two, false, None)].concat());
        let told = json!(both.without(&one.id)).to_string();
        assert!(told.contains("rule_0000abcd_in") && told.contains("live_0000abcd"), "{told}");
        assert!(!told.contains("000abcde") && !told.contains("\"table\":{"), "{told}");
    }
}
