//! What a kernel that hides process 1 from programs keeps to itself: it runs none in that process's time, not for what an
//! interrupt brings then either. The sensor says so in its coverage; here the kernel's own trace counts it, so that a
//! test of what comes in interrupts knows to the event how many were to be had.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

use nix::mount::{MsFlags, mount};

use crate::find::Source;
use crate::sensor::Sensor;

/// Where the kernel traces.
const TRACEFS: &str = "/sys/kernel/tracing";

/// Ends of connections and their beginnings in the time of process 1, since it watches.
pub struct Unshown {
    /// An instance of the trace (`Documentation/trace/ftrace.rst`); none where all is shown.
    folder: Option<PathBuf>,
}

impl Unshown {
    /// Watches from now on.
    ///
    /// # Panics
    /// When the kernel can't trace.
    #[must_use]
    pub fn watch(sensor: &Sensor) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !sensor.lacks("self/first_process") {
            return Self { folder: None };
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("{TRACEFS}/instances/test-{}-{number}", process::id()));
        // Nothing on a host may have asked for it yet; mounted twice it is the same.
        if !folder.parent().is_some_and(Path::is_dir) {
            let (tracefs, none) = (Some("tracefs"), None::<&str>);
            mount(tracefs, TRACEFS, tracefs, MsFlags::empty(), none).expect("the trace's file system");
        }
        fs::create_dir(&folder).expect("an instance of the trace");
        let threads = fs::read_dir("/proc/1/task").expect("its threads").filter_map(Result::ok);
        let each: Vec<_> =
            threads.map(|thread| format!("common_pid == {}", thread.file_name().display())).collect();
        let event = folder.join("events/sock/inet_sock_set_state");
        fs::write(event.join("filter"), each.join(" || ")).expect("a filter");
        fs::write(event.join("enable"), "1").expect("the trace");
        Self { folder: Some(folder) }
    }

    /// How many connections came to stand so, from either end.
    #[must_use]
    pub fn established(&self) -> usize {
        self.came_to("TCP_ESTABLISHED")
    }

    /// How many ended so, from either end.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.came_to("TCP_CLOSE")
    }

    fn came_to(&self, state: &str) -> usize {
        let Some(folder) = &self.folder else { return 0 };
        let trace = fs::read_to_string(folder.join("trace")).expect("the trace");
        let wanted = format!("newstate={state}");
        trace.lines().filter(|line| line.split_whitespace().any(|word| word == wanted)).count()
    }
}

impl Drop for Unshown {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = fs::write(folder.join("events/enable"), "0");
            let _ = fs::remove_dir(folder);
        }
    }
}
