//! What a process has open, by the links of its folder `fd`: reading a link asks nobody but the kernel.

use std::{ops::ControlFlow, os::unix::ffi::OsStringExt, path::Path, time::Duration};

use nix::{errno::Errno, fcntl::readlinkat};

use super::{Reader, folder::Folder};
use crate::record::Text;

/// Most descriptors of one process that are read.
const MOST: usize = 1_048_576;
/// How many processes are told of at once, and how long one may take: with the most descriptors some seconds.
const LOAD: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);

/// A descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub number: u32,
    /// Where it leads.
    pub target: Target,
}

/// Where a descriptor leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To the socket of this inode.
    Socket(u64),
    /// To the pipe of this inode.
    Pipe(u64),
    /// To the namespace of this sort and number.
    Namespace(Text, u32),
    /// To what has neither a name nor a number: `eventfd`, `eventpoll` and the like.
    Anonymous(Text),
    /// To a file, by the text that the kernel shows: with its mark, if the name is gone.
    File(Text),
}

/// Why descriptors aren't known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    /// The process is gone.
    Gone,
    /// They may not be read.
    Forbidden,
    /// There are more than are read.
    TooMany,
    /// They weren't told in time.
    Late,
}

impl Closed {
    /// The end of a sentence about what a process has open; none of one that is gone, as it has nothing.
    #[must_use]
    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::Gone => None,
            Self::Forbidden => Some("may not be read"),
            Self::TooMany => Some("is too much to be read"),
            Self::Late => Some("wasn't told in time"),
        }
    }
}

impl Target {
    /// Of a link's text (`proc_pid_fd(5)`). Names of files begin with a slash, and so nothing else does.
    #[must_use]
    pub fn of(link: Vec<u8>) -> Self {
        if link.first() == Some(&b'/') {
            return Self::File(Text::from(link));
        }
        let open = link.iter().position(|byte| *byte == b'[');
        let kind = open.and_then(|open| link.get(..open)).and_then(|kind| kind.strip_suffix(b":"));
        let number = numbered(&link);
        match (kind, number) {
            (Some(b"socket"), Some(inode)) => Self::Socket(inode),
            (Some(b"pipe"), Some(inode)) => Self::Pipe(inode),
            (Some(kind), Some(number)) => match u32::try_from(number) {
                Ok(number) => Self::Namespace(Text::copy_from(kind), number),
                Err(_) => Self::Anonymous(Text::from(link)),
            },
            _ => Self::Anonymous(anonymous(link)),
        }
    }
}

/// `anon_inode:[eventpoll]` is `eventpoll`.
fn anonymous(link: Vec<u8>) -> Text {
    let Some(bare) = link.strip_prefix(b"anon_inode:") else { return Text::from(link) };
    let inner = bare.strip_prefix(b"[").and_then(|bare| bare.strip_suffix(b"]"));
    Text::copy_from(inner.unwrap_or(bare))
}

/// The number in `socket:[123]`.
pub(super) fn numbered(link: &[u8]) -> Option<u64> {
    let start = link.iter().position(|byte| *byte == b'[')?;
    std::str::from_utf8(link.get(start + 1..)?.strip_suffix(b"]")?).ok()?.parse().ok()
}

impl Reader {
    /// All that a process has open.
    ///
    /// # Errors
    /// When that can't be read.
    pub fn descriptors(&self, pid: u32) -> Result<Vec<Descriptor>, Closed> {
        descriptors(&self.root, pid)
    }

    /// The same of each of these, in their order.
    pub fn descriptors_of(
        &mut self,
        all: Vec<u32>,
        mut take: impl FnMut(u32, Result<Vec<Descriptor>, Closed>),
    ) {
        let root = self.root.clone();
        let question = move |pid: &u32| descriptors(&root, *pid);
        self.each_patiently(
            all,
            LOAD,
            |_| PATIENCE,
            question,
            |_, pid, found| {
                take(*pid, found.unwrap_or(Err(Closed::Late)));
                ControlFlow::Continue(())
            },
        );
    }
}

pub(super) fn descriptors(root: &Path, pid: u32) -> Result<Vec<Descriptor>, Closed> {
    let folder = Folder::open(&root.join(pid.to_string())).ok_or(Closed::Gone)?;
    let Some(mut list) = folder.list("fd") else {
        // Also where something is mounted over its folder.
        let lives = root.join(pid.to_string()).exists();
        return Err(if lives { Closed::Forbidden } else { Closed::Gone });
    };
    let mut numbers = Vec::new();
    for entry in list.iter() {
        // A process that ends meanwhile has none any more.
        let Ok(entry) = entry else { break };
        numbers.extend(entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
        if numbers.len() > MOST {
            return Err(Closed::TooMany);
        }
    }
    // The kernel lists them so; who else serves a folder may not.
    numbers.sort_unstable();
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers {
        match readlinkat(&list, number.to_string().as_str()) {
            Ok(link) => found.push(Descriptor { number, target: Target::of(link.into_vec()) }),
            // Closed since.
            Err(Errno::ENOENT) => {}
            Err(Errno::EACCES | Errno::EPERM) => return Err(Closed::Forbidden),
            Err(_) => return Err(Closed::Gone),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_understood_and_names_pass_for_nothing_else() {
        let of = |text: &str| Target::of(text.as_bytes().to_vec());
        assert_eq!(of("socket:[12]"), Target::Socket(12));
        assert_eq!(of("pipe:[7]"), Target::Pipe(7));
        assert_eq!(of("net:[4026531840]"), Target::Namespace("net".into(), 4_026_531_840));
        assert_eq!(of("anon_inode:[eventpoll]"), Target::Anonymous("eventpoll".into()));
        assert_eq!(of("anon_inode:bpf-map"), Target::Anonymous("bpf-map".into()));
        assert_eq!(of("/tmp/socket:[12]"), Target::File("/tmp/socket:[12]".into()));
        for odd in ["", "socket:[", "socket:[x]", "pipe:[-1]", "[", "]", ":[5", "net:[99999999999]"] {
            assert!(matches!(of(odd), Target::Anonymous(_)), "{odd}");
        }
    }

    #[test]
    fn own_descriptors_are_listed() {
        let reader = Reader::new("/proc".into());
        let (read, _write) = nix::unistd::pipe().unwrap();
        let inode = nix::sys::stat::fstat(&read).unwrap().st_ino;
        let all = reader.descriptors(std::process::id()).unwrap();
        assert_eq!(all.iter().filter(|one| one.target == Target::Pipe(inode)).count(), 2);
        assert_eq!(reader.descriptors(u32::MAX), Err(Closed::Gone));
    }
}
