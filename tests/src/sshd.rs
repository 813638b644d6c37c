//! An sshd of the test's own, and logins to it.

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::answer::run;
use crate::skip::missing;
use crate::{DEADLINE, Folder, Running, patience};

/// A process and all it started in its group; they end with this.
#[derive(Debug)]
pub struct Group(Child);

impl Group {
    /// Starts it with a standard input that stays open.
    pub fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt;
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.process_group(0).spawn().unwrap())
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Group {
    /// Ends all of it.
    pub fn end(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// A private sshd, with keys of its own.
#[derive(Debug)]
pub struct Sshd {
    folder: Folder,
    address: &'static str,
    /// Where it listens.
    pub port: u16,
    _running: Group,
}

const SSHD: &str = "/usr/sbin/sshd";

impl Sshd {
    /// On loopback; none, with the reason told, where there is no sshd.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::at("127.0.0.1")
    }

    /// At this address.
    #[must_use]
    pub fn at(address: &'static str) -> Option<Self> {
        if !Path::new(SSHD).exists() || !Path::new("/usr/bin/ssh").exists() {
            let _ = missing("there is no sshd (openssh-server, openssh-client)");
            return None;
        }
        let folder = Folder::new();
        for key in ["host", "client"] {
            let mut keygen = Command::new("ssh-keygen");
            let made = run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.at(key)));
            assert!(made.status.success(), "{made:?}");
        }
        fs::set_permissions(folder.at("client.pub"), Permissions::from_mode(0o644)).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        // Free a moment ago: a port that sshd chose itself couldn't be known.
        let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let at = |name: &str| folder.at(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nLoginGraceTime 60\n",
            at("host"),
            at("client.pub")
        );
        fs::write(folder.at("config"), config).unwrap();
        let running = Group::start(Command::new(SSHD).arg("-D").arg("-f").arg(folder.at("config")));
        let end = Instant::now() + patience(DEADLINE);
        while TcpStream::connect((address, port)).is_err() {
            assert!(Instant::now() < end, "sshd doesn't listen on {port}");
            std::thread::yield_now();
        }
        Some(Self { folder, address, port, _running: running })
    }

    /// Connects, with these options and what is to be run.
    #[must_use]
    pub fn login(&self, words: &[&str]) -> Group {
        Group::start(self.client().args(words))
    }

    /// One who logs in as root and types these commands without a terminal.
    #[must_use]
    pub fn typed(&self, script: &str) -> Running {
        Running::start(self.client().args(["-T", &format!("root@{}", self.address), script]))
    }

    fn client(&self) -> Command {
        let mut ssh = Command::new("/usr/bin/ssh");
        ssh.args([
            "-q",
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        ssh.arg("-p").arg(self.port.to_string()).arg("-i").arg(self.folder.at("client"));
        ssh
    }
}
