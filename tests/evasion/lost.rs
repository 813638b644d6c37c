//! What the alert of a lost name must say, all of it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tests::find::Source;
use tests::{Event, Sensor};

/// A name that was lost, and by whom.
pub struct Lost<'a> {
    /// The name, as it was executed.
    pub path: &'a Path,
    /// The file that had it.
    pub file: &'a Metadata,
    pub method: &'a str,
    /// Who did it: its pid and executable.
    pub by: (u32, &'a Path),
    /// Who runs the file, by pid.
    pub runners: Vec<u32>,
    pub severity: u64,
}

impl Lost<'_> {
    /// Waits for the alert, the only one of this file, and checks it.
    pub fn told(&self, sensor: &Sensor) -> Event {
        let alerts =
            sensor.find("exe_deleted").with("file.inode", self.file.ino().to_string()).file(self.path);
        alerts.wait();
        sensor.fence();
        let alert = alerts.one();
        self.check(&alert);
        alert
    }

    /// Checks one that is known to be of this file.
    pub fn check(&self, alert: &Event) {
        let (pid, executable) = self.by;
        assert_eq!(alert.num("process.pid"), u64::from(pid), "{alert:#}");
        assert_eq!(alert.str("process.executable"), executable.to_string_lossy(), "{alert:#}");
        assert_eq!(alert.str("sensor.method"), self.method, "{alert:#}");
        assert_eq!(alert.str("file.path"), self.path.to_string_lossy());
        assert_eq!(Some(alert.str("file.name")), self.path.file_name().and_then(|name| name.to_str()));
        assert_eq!(alert.str("file.device"), self.file.dev().to_string());
        assert_eq!(alert.str("file.inode"), self.file.ino().to_string());
        assert_eq!(alert.str("sensor.exe.inode"), self.file.ino().to_string());
        assert_eq!(alert.truth("sensor.self"), self.runners.contains(&pid), "{alert:#}");
        assert_eq!(alert.num("event.severity"), self.severity, "{alert:#}");
        let mut runners: Vec<u64> =
            alert.list("sensor.runners").iter().filter_map(|row| row["pid"].as_u64()).collect();
        runners.sort_unstable();
        let mut expected: Vec<u64> = self.runners.iter().copied().map(u64::from).collect();
        expected.sort_unstable();
        assert_eq!(runners, expected, "{alert:#}");
        for row in alert.list("sensor.runners") {
            assert_eq!(row["executable"], self.path.to_string_lossy().as_ref(), "{alert:#}");
        }
    }
}
