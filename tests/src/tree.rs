//! A host that is only files: a small server with an intruder, laid out in a folder, for answers that can be compared
//! letter by letter.

use crate::Folder;
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long the host has been up when it is looked at, beyond what this machine has: seconds.
pub const UP: i64 = 10 * DAY;
const DAY: i64 = 86_400;
/// Ages end in the middle of the hour that is shown: a slow test sees the same.
const HALF_AN_HOUR: i64 = 1800;
/// Unset, for audit.
const NONE: u32 = u32::MAX;

/// A process of it.
struct Process {
    pid: u32,
    parent: u32,
    /// Its session's leader.
    session: u32,
    /// `pts/N`, as the kernel has it.
    terminal: u32,
    uid: u32,
    /// User and number of the login.
    login: (u32, u32),
    name: &'static str,
    executable: &'static str,
    args: &'static [&'static str],
    /// Seconds since its birth.
    age: i64,
    /// Where its descriptors lead.
    open: &'static [&'static str],
    cgroup: &'static str,
}

const SYSTEM: (u32, u32) = (NONE, NONE);
const ALICE: (u32, u32) = (1000, 3);
const PTS_0: u32 = 136 << 8;

const PROCESSES: [Process; 9] = [
    Process {
        pid: 1,
        parent: 0,
        session: 1,
        terminal: 0,
        uid: 0,
        login: SYSTEM,
        name: "init",
        executable: "/sbin/init",
        args: &["/sbin/init"],
        age: 9 * DAY + HALF_AN_HOUR,
        open: &["/dev/null"],
        cgroup: "/init.scope",
    },
    Process {
        pid: 2,
        parent: 0,
        session: 0,
        terminal: 0,
        uid: 0,
        login: SYSTEM,
        name: "kthreadd",
        executable: "",
        args: &[],
        age: 9 * DAY + HALF_AN_HOUR,
        open: &[],
        cgroup: "/",
    },
    Process {
        pid: 811,
        parent: 1,
        session: 811,
        terminal: 0,
        uid: 0,
        login: SYSTEM,
        name: "sshd",
        executable: "/usr/sbin/sshd",
        args: &["sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"],
        age: 9 * DAY + HALF_AN_HOUR,
        open: &["/dev/null", "/dev/null", "/dev/null", "socket:[700]"],
        cgroup: "/system.slice/ssh.service",
    },
    Process {
        pid: 2101,
        parent: 811,
        session: 2101,
        terminal: 0,
        uid: 0,
        login: ALICE,
        name: "sshd",
        executable: "/usr/sbin/sshd",
        args: &["sshd: alice [priv]"],
        age: 2 * DAY + HALF_AN_HOUR,
        open: &["/dev/null", "/dev/null", "/dev/null", "/dev/null", "socket:[701]"],
        cgroup: "/user.slice/user-1000.slice/session-3.scope",
    },
    Process {
        pid: 2105,
        parent: 2101,
        session: 2101,
        terminal: 0,
        uid: 1000,
        login: ALICE,
        name: "sshd",
        executable: "/usr/sbin/sshd",
        args: &["sshd: alice@pts/0"],
        age: 2 * DAY + HALF_AN_HOUR,
        open: &["/dev/null", "/dev/null", "/dev/null", "/dev/null", "socket:[701]"],
        cgroup: "/user.slice/user-1000.slice/session-3.scope",
    },
    Process {
        pid: 2106,
        parent: 2105,
        session: 2106,
        terminal: PTS_0,
        uid: 1000,
        login: ALICE,
        name: "bash",
        executable: "/usr/bin/bash",
        args: &["-bash"],
        age: 2 * DAY + HALF_AN_HOUR,
        open: &["/dev/pts/0", "/dev/pts/0", "/dev/pts/0"],
        cgroup: "/user.slice/user-1000.slice/session-3.scope",
    },
    Process {
        pid: 2200,
        parent: 2106,
        session: 2106,
        terminal: PTS_0,
        uid: 0,
        login: ALICE,
        name: "vi",
        executable: "/usr/bin/vi",
        args: &["vi", "notes\x1b[2J.txt", "--password=hunter2"],
        age: DAY + HALF_AN_HOUR,
        open: &["/dev/pts/0", "/dev/pts/0", "/dev/pts/0", "/home/alice/.notes.swp (deleted)", "pipe:[900]"],
        cgroup: "/user.slice/user-1000.slice/session-3.scope",
    },
    Process {
        pid: 2300,
        parent: 1,
        session: 2300,
        terminal: 0,
        uid: 0,
        login: ALICE,
        name: "kworker/u4:1",
        executable: "/tmp/.x/agent",
        args: &["[kworker/u4:1]"],
        age: DAY + HALF_AN_HOUR,
        open: &["/dev/null", "/dev/null", "/dev/null", "socket:[702]", "pipe:[900]", "/memfd:x (deleted)"],
        cgroup: "/user.slice/user-1000.slice/session-3.scope",
    },
    Process {
        pid: 2400,
        parent: 1,
        session: 2400,
        terminal: 0,
        uid: 33,
        login: SYSTEM,
        name: "app",
        executable: "/usr/bin/app",
        args: &["/usr/bin/app", "--listen", "8080"],
        age: 3 * DAY + HALF_AN_HOUR,
        open: &["/dev/null", "/dev/null", "/dev/null", "socket:[703]"],
        cgroup: "/docker/4b7ad3e1c0ffee00112233445566778899aabbccddeeff00112233445566778899",
    },
];

/// `proc_net_tcp(5)`: listeners, and the connection that alice came by.
const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
    0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 700 1 0 100 0 0 10 0\n   \
    1: 0100000A:0016 076433C6:D431 01 00000000:00000000 00:00000000 00000000     0        0 701 1 0 20 4 29 10 -1\n   \
    2: 00000000:115C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 702 1 0 100 0 0 10 0\n   \
    3: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 703 1 0 100 0 0 10 0\n";

/// Lays it out, for a host that has been up for [`UP`] more seconds than this one.
pub fn lay_out(folder: &Folder) -> PathBuf {
    let root = folder.folder("host");
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec()) + UP;
    for process in &PROCESSES {
        lay_out_process(&root, process, up);
    }
    let write = |path: &str, text: &str| write(&root.join(path), text);
    // Whoever looks lives where the first process does.
    link("1", &root.join("proc/self"));
    link("self", &root.join("proc/thread-self"));
    write("proc/sys/kernel/random/boot_id", "6f1c0f5e-0000-4000-8000-5d0c7a3b9e21\n");
    write("proc/sys/kernel/hostname", "web-1\n");
    write("proc/sys/kernel/pid_max", "4194304\n");
    write("etc/machine-id", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\n");
    write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n\
        alice:x:1000:1000::/home/alice:/bin/bash\n",
    );
    for file in ["sbin/init", "usr/sbin/sshd", "usr/bin/bash", "usr/bin/vi", "usr/bin/app", "tmp/.x/agent"] {
        write(file, &format!("the program {file}\n"));
        fs::set_permissions(root.join(file), fs::Permissions::from_mode(0o755)).unwrap();
    }
    write("var/lib/dpkg/info/openssh-server.list", "/.\n/usr\n/usr/sbin\n/usr/sbin/sshd\n");
    write("var/lib/dpkg/info/bash.list", "/.\n/usr\n/usr/bin\n/usr/bin/bash\n");
    write(
        "run/systemd/sessions/3",
        "UID=1000\nUSER=alice\nSTATE=active\nTYPE=tty\nCLASS=user\nSCOPE=session-3.scope\nTTY=pts/0\n\
        REMOTE_HOST=198.51.100.7\nLEADER=2101\nAUDIT=3\n",
    );
    write("home/alice/.bash_history", "#1764000000\nls -la\n#1764000060\nexport HISTFILE=/dev/null\n");
    let history = root.join("home/alice/.bash_history");
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_001_800);
    fs::File::options().append(true).open(&history).unwrap().set_modified(last).unwrap();
    chown(&history, Some(1000), Some(1000)).unwrap();
    write(
        "var/log/auth.log",
        "2025-11-24T16:02:00.000000+00:00 web-1 sudo:    alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; \
        COMMAND=/usr/bin/install -m 755 x /tmp/.x/agent\n",
    );
    root
}

fn lay_out_process(root: &Path, process: &Process, up: i64) {
    let Process { pid, parent, session, terminal, uid, name, .. } = *process;
    let folder = root.join(format!("proc/{pid}"));
    let write = |file: &str, text: &str| write(&folder.join(file), text);
    let start = (up - process.age) * 100;
    let (flags, foreground) = match (process.executable, terminal) {
        ("", _) => (0x0020_0000, -1),
        (_, 0) => (0, -1),
        _ => (0, 2200),
    };
    write(
        "stat",
        &format!(
            "{pid} ({name}) S {parent} {pid} {session} {terminal} {foreground} {flags} 0 0 0 0 150 50 0 0 20 0 1 0 \
            {start} 9000000 1200 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        ),
    );
    write(
        "status",
        &format!(
            "Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{pid}\n\
            CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t0\n"
        ),
    );
    write("cmdline", &process.args.iter().fold(String::new(), |line, arg| line + arg + "\0"));
    write("environ", "PATH=/usr/bin:/bin\0DB_PASSWORD=hunter2\0");
    write("comm", &format!("{name}\n"));
    write("loginuid", &process.login.0.to_string());
    write("sessionid", &process.login.1.to_string());
    write("cgroup", &format!("0::{}\n", process.cgroup));
    write(
        "io",
        "rchar: 4096\nwchar: 512\nsyscr: 4\nsyscw: 2\nread_bytes: 8192\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n",
    );
    write("mountinfo", "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n");
    write("net/tcp", TCP);
    write("maps", "");
    for (number, target) in process.open.iter().enumerate() {
        link(target, &folder.join(format!("fd/{number}")));
        write(&format!("fdinfo/{number}"), "pos:\t0\nflags:\t0100002\nmnt_id:\t22\nino:\t1\n");
    }
    // What runs in a container has its own.
    let first = if process.cgroup.starts_with("/docker") { 4_026_532_200_u32 } else { 4_026_532_000 };
    for (number, kind) in (first..).zip(["mnt", "net", "pid", "user", "uts", "ipc", "cgroup", "time"]) {
        link(&format!("{kind}:[{number}]"), &folder.join(format!("ns/{kind}")));
    }
    if !process.executable.is_empty() {
        link(process.executable, &folder.join("exe"));
    }
    link("/", &folder.join("cwd"));
    link("/", &folder.join("root"));
    write(&format!("task/{pid}/comm"), &format!("{name}\n"));
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
}

fn link(target: &str, at: &Path) {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    symlink(target, at).unwrap();
}
