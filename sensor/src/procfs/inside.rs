//! What only /proc tells of one process: its environment, and what it is kept from.

use std::{
    fs::File,
    io::{self, Read},
};

use super::{Reader, folder::Folder};
use crate::record::Text;

/// Most bytes of an environment that are read.
const MOST_ENVIRONMENT: u64 = 256 * 1024;

/// What a process may do, and who looks over its shoulder (`proc_pid_status(5)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bits of the capabilities that it could ever get.
    pub bounding: u64,
    /// 0, 1 or 2: `disabled`, `strict`, `filter`; none where that isn't told.
    pub seccomp: Option<u64>,
    /// How many filters; none where that isn't told.
    pub filters: Option<u64>,
    /// The process that traces it, 0 for none.
    pub tracer: u32,
}

impl Reader {
    /// The environment of a process, as its memory has it now, and whether there is more.
    ///
    /// # Errors
    /// When it may not be read, or the process keeps us waiting (`TimedOut`).
    pub fn environment(&mut self, pid: u32) -> io::Result<(Vec<Text>, bool)> {
        let path = self.root.join(pid.to_string()).join("environ");
        let read = self.patiently(move || {
            let mut bytes = Vec::new();
            File::open(path)?.take(MOST_ENVIRONMENT + 1).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        });
        let mut bytes = read.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        let more = bytes.len() as u64 > MOST_ENVIRONMENT;
        bytes.truncate(MOST_ENVIRONMENT as usize);
        let variables = bytes.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
        Ok((variables.map(Text::copy_from).collect(), more))
    }

    /// Where in the kernel a process waits, by the function's name; none where that isn't told.
    #[must_use]
    pub fn waits_in(&self, pid: u32) -> Option<String> {
        let name = Folder::open(&self.root.join(pid.to_string()))?.text("wchan")?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let name = String::from_utf8(name.into_iter().take_while(plain).collect()).ok()?;
        (!name.is_empty() && name != "0").then_some(name)
    }

    /// What a process is kept from, while it lives.
    #[must_use]
    pub fn kept(&self, pid: u32) -> Option<Kept> {
        let folder = Folder::open(&self.root.join(pid.to_string()))?;
        Some(parse(&folder.text("status")?))
    }
}

fn parse(status: &[u8]) -> Kept {
    let mut kept = Kept::default();
    for line in status.split(|byte| *byte == b'\n') {
        let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
            continue;
        };
        let value = value.trim();
        match name {
            "CapBnd" => kept.bounding = u64::from_str_radix(value, 16).unwrap_or(0),
            "Seccomp" => kept.seccomp = value.parse().ok(),
            "Seccomp_filters" => kept.filters = value.parse().ok(),
            "TracerPid" => kept.tracer = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_is_kept_from() {
        let status =
            b"Name:\tx\nTracerPid:\t7\nCapBnd:\t00000000000000ff\nSeccomp:\t2\nSeccomp_filters:\t3\n\xff:\n";
        let wanted = Kept { bounding: 255, seccomp: Some(2), filters: Some(3), tracer: 7 };
        assert_eq!(parse(status), wanted);
        assert_eq!(parse(b""), Kept::default());
    }

    #[test]
    fn own_environment_is_read() {
        let (variables, more) = Reader::new("/proc".into()).environment(std::process::id()).unwrap();
        assert!(!more);
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        assert!(variables.iter().any(|variable| variable.as_bytes() == path.as_bytes()));
    }
}
