//! A real pseudo-terminal with a program on it, and what a screen would show of what it writes.

use crate::{DEADLINE, patience, program};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, tcgetattr};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// What a screen shows, and all bytes that were ever written.
struct Shown {
    parser: vt100::Parser,
    raw: Vec<u8>,
}

/// A terminal, and the program that has it as its controlling terminal.
pub struct Terminal {
    child: Child,
    master: Option<Arc<PtyMaster>>,
    slave: PathBuf,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

impl Terminal {
    /// Runs a program on a new terminal, with these changes of the environment.
    pub fn start(
        program: &Path,
        args: Vec<OsString>,
        env: &[(&str, &str)],
        (columns, rows): (u16, u16),
    ) -> Self {
        // None of what other tests start may have a descriptor of it: then it couldn't vanish.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("its other end");
        let slave = PathBuf::from(ptsname_r(&master).expect("its name"));
        let opened: File = nix::fcntl::open(&slave, flags, Mode::empty()).expect("open its other end").into();
        set_size(&slave, columns, rows);
        let end = || Stdio::from(opened.try_clone().expect("one more descriptor"));
        // `setsid` makes it the controlling terminal, as sshd and a shell do.
        let mut command = Command::new("setsid");
        command.arg("-c").arg(program).args(args);
        for name in ["NO_COLOR", "LC_ALL", "LC_CTYPE"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").envs(env.iter().copied());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid, of util-linux");
        let shown = Shown { parser: vt100::Parser::new(cells(rows), cells(columns), 0), raw: Vec::new() };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let master = Arc::new(master);
        let (from, to) = (Arc::downgrade(&master), Arc::downgrade(&shown));
        std::thread::spawn(move || {
            // Never holds the terminal for longer than a moment: it must be able to vanish.
            while let (Some(master), Some(shown)) = (from.upgrade(), to.upgrade()) {
                if read(&master, &shown).is_none() {
                    return;
                }
            }
        });
        Self { child, master: Some(master), slave, shown }
    }

    /// Waits until the screen's lines, from the top down, are as wanted; returns them.
    pub fn until(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let end = Instant::now() + patience(DEADLINE);
        let mut state = self.shown.0.lock().unwrap();
        loop {
            let lines = lines(&state.parser);
            if wanted(&lines) {
                return lines;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not on the screen:\n{}", lines.join("\n"));
            state = self.shown.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Sends keys.
    pub fn press(&self, keys: &str) {
        let mut master = &**self.master.as_ref().expect("the terminal is there");
        master.write_all(keys.as_bytes()).expect("press keys");
    }

    /// Changes its size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.shown.0.lock().unwrap().parser.screen_mut().set_size(cells(rows), cells(columns));
        set_size(&self.slave, columns, rows);
    }

    /// All that was written to it.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.shown.0.lock().unwrap().raw.clone()
    }

    /// Whether the alternate screen is shown, and whether the cursor is hidden.
    #[must_use]
    pub fn modes(&self) -> (bool, bool) {
        let state = self.shown.0.lock().unwrap();
        (state.parser.screen().alternate_screen(), state.parser.screen().hide_cursor())
    }

    /// Whether it gives lines, with echo, as a shell wants it.
    #[must_use]
    pub fn cooked(&self) -> bool {
        let master = self.master.as_ref().expect("the terminal is there");
        let flags = tcgetattr(&**master).expect("its settings").local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// The pid of the program.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes the terminal away, as a connection that breaks.
    pub fn vanish(&mut self) {
        self.master = None;
    }

    /// Waits for the end of the program.
    pub fn wait(&mut self) -> ExitStatus {
        program::wait(&mut self.child, DEADLINE).expect("it ends")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes within a moment; nothing when nothing will come any more.
fn read(mut master: &PtyMaster, shown: &(Mutex<Shown>, Condvar)) -> Option<()> {
    let mut ready = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, 20_u8).ok()? == 0 {
        return Some(());
    }
    let mut bytes = [0; 4096];
    let size = master.read(&mut bytes).ok().filter(|size| *size > 0)?;
    let mut state = shown.0.lock().unwrap();
    state.parser.process(&bytes[..size]);
    state.raw.extend_from_slice(&bytes[..size]);
    shown.1.notify_all();
    Some(())
}

fn set_size(slave: &Path, columns: u16, rows: u16) {
    let (rows, columns) = (rows.to_string(), columns.to_string());
    program::done(Path::new("stty"), crate::words!["-F", slave, "rows", rows, "cols", columns]);
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a size of at least one cell")
}

fn lines(parser: &vt100::Parser) -> Vec<String> {
    let screen = parser.screen();
    screen.rows(0, screen.size().1.get()).collect()
}
