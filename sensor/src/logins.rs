//! Who logged in, by the records of those who let them in: logind's files and utmp. Neither needs to be there.

use std::path::Path;

use crate::{
    record::{Text, Time},
    untrusted::{Refused, open},
};

mod logind;
mod utmp;

#[cfg(test)]
pub(crate) use utmp::tests::record as utmp_record;

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// systemd's login manager.
    Logind,
    /// `utmp(5)`.
    Utmp,
}

impl Source {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Logind => "logind",
            Self::Utmp => "utmp",
        }
    }
}

/// A login, as one record tells it; what it doesn't tell is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Whose record it is.
    pub source: Source,
    /// logind's id of the session, such as `3` or `c1`.
    pub id: Option<Text>,
    /// The user's name.
    pub user: Option<Text>,
    /// The user's id.
    pub uid: Option<u32>,
    /// The terminal, without `/dev/`.
    pub tty: Option<Text>,
    /// From where: a name or an address.
    pub from: Option<Text>,
    /// The process that began it.
    pub leader: Option<u32>,
    /// The kernel's audit session.
    pub audit: Option<u32>,
    /// The name of its cgroup.
    pub scope: Option<Text>,
    /// Since when.
    pub since: Option<Time>,
    /// logind's class: `user`, `manager`, `greeter`, `background`, …
    pub class: Option<Text>,
    /// logind's type: `tty`, `x11`, `wayland`, …
    pub kind: Option<Text>,
    /// logind's state: `online`, `active`, `closing`.
    pub state: Option<Text>,
}

impl Login {
    fn of(source: Source) -> Self {
        Self {
            source,
            id: None,
            user: None,
            uid: None,
            tty: None,
            from: None,
            leader: None,
            audit: None,
            scope: None,
            since: None,
            class: None,
            kind: None,
            state: None,
        }
    }
}

/// All records.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// Each login; the same one may be told by both.
    pub all: Vec<Login>,
    /// logind keeps records here.
    pub logind: bool,
    /// utmp is kept here: it has at least one record.
    pub utmp: bool,
    /// What couldn't be read, a sentence each.
    pub parts: Vec<String>,
}

impl Logins {
    /// Those of the host whose files lie under this folder.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let mut logins = Self::default();
        logind::read(root, &mut logins);
        utmp::read(root, &mut logins);
        logins
    }

    /// The bytes of a file, so many at most; none where there is none.
    fn bytes(&mut self, root: &Path, path: &str, most: u64) -> Option<Vec<u8>> {
        let read = match open(root, Path::new(path)) {
            Err(Refused::Absent) => return None,
            Err(Refused::Link(_)) => Err("it is a link".to_owned()),
            Err(Refused::Other(what)) => Err(format!("it is {what}")),
            Err(Refused::Failed(error)) => Err(error.to_string()),
            Ok(opened) if opened.size > most => Err(format!("it has {} bytes", opened.size)),
            Ok(opened) => opened.head(most).map_err(|error| error.to_string()),
        };
        read.inspect_err(|why| self.parts.push(format!("/{path}: {why}"))).ok()
    }
}

/// A text that says something.
fn filled(bytes: &[u8]) -> Option<Text> {
    (!bytes.is_empty()).then(|| Text::copy_from(bytes))
}
