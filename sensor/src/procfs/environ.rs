//! Variables in the environment that a process was executed with (`proc_pid_environ(5)`).

use super::{Reader, folder::Folder};
use crate::record::Text;

/// Most bytes of an environment that are read.
const MOST_BYTES: u64 = 256 * 1024;

impl Reader {
    /// Those of these names that it has; none when it may not be read, or didn't answer in time.
    pub fn variables(&mut self, pid: u32, names: &'static [&str]) -> Option<Vec<(&'static str, Text)>> {
        let path = self.root.join(pid.to_string());
        // It is the process's own memory, which can keep us waiting.
        let bytes = self.patiently(move || Folder::open(&path)?.read("environ", MOST_BYTES))??.0;
        let variables = bytes.split(|byte| *byte == 0).filter_map(|variable| {
            names.iter().find_map(|name| {
                let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                Some((*name, Text::copy_from(value)))
            })
        });
        Some(variables.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_path() {
        let mut reader = Reader::new("/proc".into());
        let variables = reader.variables(std::process::id(), &["PATH", "NO_SUCH"]).unwrap();
        assert_eq!(variables, [("PATH", Text::from(std::env::var("PATH").unwrap()))]);
    }
}
