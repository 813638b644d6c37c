//! What is known of a process, as fields: user and login names, container, the verdict on its executable.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use crate::{
    event::{
        Actor, Key,
        exe_deleted::{basename, device},
    },
    field::Field,
    process::{Before, Image, Parent, Process},
    record::{Boot, Flags, Names, Record, Stretch, Text, Value, names},
};

/// Sets what is known of processes.
pub struct Enricher {
    passwd: PathBuf,
    changed: Option<SystemTime>,
    users: HashMap<u32, Text>,
    /// The last that were enriched, until the next look at what changes.
    known: VecDeque<Known>,
    /// The host's clock at the last look.
    pub boot: Boot,
}

/// Whose child a process is and for whom it works: the same from its birth to its end, and for its
/// brothers and sisters.
struct Known {
    actor: Actor,
    cgroup: Option<Text>,
    parent: Option<(Key, Arc<Image>)>,
    stretches: Vec<Arc<Stretch>>,
}

impl Known {
    fn is_of(&self, process: &Process) -> bool {
        let parent = match (&self.parent, &process.parent) {
            (Some((key, image)), Some(parent)) => *key == parent.key && Arc::ptr_eq(image, &parent.image),
            (None, None) => true,
            _ => false,
        };
        parent && self.actor == process.actor && self.cgroup == process.cgroup
    }
}

/// How many are known: many processes are born at once, of few parents.
const KNOWN_MOST: usize = 16;
/// The fields that they have in common.
const STRETCHES: [RangeInclusive<Field>; 4] = [
    Field::ProcessThreadCapabilitiesEffective..=Field::ProcessParentArgs,
    Field::UserId..=Field::ContainerId,
    Field::SensorNoNewPrivs..=Field::SensorLoginSession,
    Field::SensorNamespaceCgroup..=Field::SensorCgroupPath,
];

/// Largest user database that is read, bytes.
const LARGEST_PASSWD: u64 = 16 * 1024 * 1024;

impl Enricher {
    /// With a user database (`passwd(5)`).
    #[must_use]
    pub fn new(passwd: PathBuf, boot: Boot) -> Self {
        let mut enricher =
            Self { passwd, changed: None, users: HashMap::new(), known: VecDeque::new(), boot };
        enricher.refresh(boot);
        enricher
    }

    /// Looks again at what changes: the clock and the user database.
    pub fn refresh(&mut self, boot: Boot) {
        self.boot = boot;
        self.known.clear();
        let changed = fs::metadata(&self.passwd).and_then(|meta| meta.modified()).ok();
        if changed != self.changed {
            self.changed = changed;
            self.users = users(&self.passwd);
        }
    }

    /// Sets the process, and beside it the user, the login, the container and the executable.
    pub fn set(&mut self, process: &Process, record: &mut Record) {
        record.set(Field::ProcessPid, process.key.pid);
        // Its start is not known well enough for an id when only /proc tells it.
        if !process.entity.is_empty() {
            record.set(Field::ProcessEntityId, process.entity.clone());
        }
        record.set(Field::ProcessStart, process.started);
        set_image(process, record);
        set_terminal(&process.actor, record);
        self.stretches(process).iter().for_each(|stretch| record.share(stretch));
    }

    fn stretches(&mut self, process: &Process) -> &[Arc<Stretch>] {
        let at = self.known.iter().position(|known| known.is_of(process)).unwrap_or_else(|| {
            self.known.truncate(KNOWN_MOST - 1);
            self.known.push_front(self.learn(process));
            0
        });
        self.known.get(at).map_or(&[], |known| &known.stretches)
    }

    fn learn(&self, process: &Process) -> Known {
        let mut record = Record::new();
        self.set_actor(&process.actor, &mut record);
        if let Some(parent) = &process.parent {
            self.set_parent(parent, &mut record);
        } else if process.actor.parent != 0 {
            record.set(Field::ProcessParentPid, process.actor.parent);
        }
        if let Some(cgroup) = &process.cgroup {
            if let Some(container) = container(cgroup) {
                record.set(Field::ContainerId, container);
            }
            record.set(Field::SensorCgroupPath, cgroup.clone());
        }
        Known {
            actor: process.actor,
            cgroup: process.cgroup.clone(),
            parent: process.parent.as_ref().map(|parent| (parent.key, Arc::clone(&parent.image))),
            stretches: STRETCHES
                .into_iter()
                .filter_map(|range| Stretch::of(&record, range))
                .map(Arc::new)
                .collect(),
        }
    }

    fn set_parent(&self, parent: &Parent, record: &mut Record) {
        record.set(Field::ProcessParentPid, parent.key.pid);
        if !parent.entity.is_empty() {
            record.set(Field::ProcessParentEntityId, parent.entity.clone());
        }
        record.set(Field::ProcessParentStart, parent.started);
        if let Some(executable) = &parent.image.executable {
            record.set(Field::ProcessParentName, basename(executable));
            record.set(Field::ProcessParentExecutable, executable.clone());
        }
        record.set(Field::ProcessParentArgs, parent.image.args.clone());
    }

    /// Sets what an exec changed.
    pub fn set_before(process: &Process, before: Option<&Before>, record: &mut Record) {
        let Some(before) = before else { return };
        if let Some(executable) = &before.image.executable {
            record.set(Field::ProcessPreviousExecutable, executable.clone());
        }
        let gained = process.actor.permitted & !before.permitted;
        if gained != 0 {
            record.set(Field::SensorCapabilitiesGained, capabilities(gained));
        }
    }

    /// Sets a user and, beside it, the login user, of no process.
    pub fn set_user(&self, effective: u32, login: u32, record: &mut Record) {
        record.set(Field::UserId, effective);
        if let Some(name) = self.users.get(&effective) {
            record.set(Field::UserName, name.clone());
        }
        self.set_login(login, record);
    }

    fn set_login(&self, login: u32, record: &mut Record) {
        if login == u32::MAX {
            return;
        }
        record.set(Field::SensorLoginUid, login);
        if let Some(name) = self.users.get(&login) {
            record.set(Field::SensorLoginName, name.clone());
        }
    }

    fn set_actor(&self, actor: &Actor, record: &mut Record) {
        let [uid, gid, saved, _, effective, effective_group, ..] = actor.ids;
        record.set(Field::ProcessUserId, effective);
        record.set(Field::UserId, effective);
        record.set(Field::ProcessRealUserId, uid);
        record.set(Field::ProcessSavedUserId, saved);
        record.set(Field::ProcessGroupId, effective_group);
        record.set(Field::ProcessRealGroupId, gid);
        if let Some(name) = self.users.get(&effective) {
            record.set(Field::ProcessUserName, name.clone());
            record.set(Field::UserName, name.clone());
        }
        if let Some(name) = self.users.get(&uid) {
            record.set(Field::ProcessRealUserName, name.clone());
        }
        if actor.login_uid != u32::MAX {
            self.set_login(actor.login_uid, record);
            if actor.login_session != u32::MAX {
                record.set(Field::SensorLoginSession, actor.login_session);
            }
        }
        if actor.session != 0 {
            record.set(Field::ProcessSessionLeaderPid, actor.session);
        }
        if actor.tty_major != 0 {
            record.set(Field::ProcessTtyCharDeviceMajor, actor.tty_major);
            record.set(Field::ProcessTtyCharDeviceMinor, actor.tty_minor);
        }
        record.set(Field::ProcessThreadCapabilitiesEffective, capabilities(actor.effective));
        record.set(Field::ProcessThreadCapabilitiesPermitted, capabilities(actor.permitted));
        record.set(Field::SensorNoNewPrivs, actor.no_new_privs != 0);
        for (field, number) in NAMESPACES.into_iter().zip(actor.namespaces) {
            if number != 0 {
                record.set(field, Value::Id(u64::from(number)));
            }
        }
        if actor.cgroup != 0 {
            record.set(Field::SensorCgroupId, Value::Id(actor.cgroup));
        }
    }
}

fn set_image(process: &Process, record: &mut Record) {
    let image = &process.image;
    match (&image.executable, &process.name) {
        (Some(executable), _) => {
            record.set(Field::ProcessName, basename(executable));
            record.set(Field::ProcessExecutable, executable.clone());
        }
        (None, Some(name)) => record.set(Field::ProcessName, name.clone()),
        (None, None) => {}
    }
    if let Some(sha256) = image.sha256.get() {
        record.set(Field::ProcessHashSha256, sha256.clone());
    }
    record.set(Field::ProcessArgs, image.args.clone());
    record.set(Field::ProcessArgsCount, image.args_count.max(image.args.len() as u64));
    if image.args_bytes != 0 {
        record.set(Field::SensorArgsBytes, image.args_bytes);
    }
    if image.args_truncated {
        record.set(Field::SensorArgsTruncated, true);
    }
    if let Some(directory) = &process.working_directory {
        record.set(Field::ProcessWorkingDirectory, directory.clone());
    }
    if let Some(script) = &image.script {
        record.set(Field::SensorScriptPath, absolute(script, process.working_directory.as_ref()));
    }
    if process.now.inode != 0 {
        record.set(Field::SensorExeDevice, Value::Id(device(process.now.device)));
        record.set(Field::SensorExeInode, Value::Id(process.now.inode));
        record.set(Field::SensorExeNlink, process.now.nlink);
        record.set(Field::SensorExeState, state(process));
    }
}

/// The controlling terminal of who acts, without `/dev/`.
#[must_use]
pub fn terminal_of(actor: &Actor) -> Option<Text> {
    (actor.tty_major != 0).then(|| Text::from(terminal(actor.tty_major, actor.tty_minor)))
}

/// What is known of the terminal by itself; its numbers stand among what is known of the actor.
fn set_terminal(actor: &Actor, record: &mut Record) {
    record.set(Field::ProcessInteractive, actor.tty_major != 0);
    if let Some(terminal) = terminal_of(actor) {
        record.set(Field::SensorTty, terminal);
    }
}

/// In the order of `Actor::namespaces`.
const NAMESPACES: [Field; 7] = [
    Field::SensorNamespaceCgroup,
    Field::SensorNamespaceIpc,
    Field::SensorNamespaceMnt,
    Field::SensorNamespaceNet,
    Field::SensorNamespacePid,
    Field::SensorNamespaceUser,
    Field::SensorNamespaceUts,
];

/// The verdict on a process's executable, from its inode and name and never from a text.
#[must_use]
pub fn state(process: &Process) -> &'static str {
    let image = &process.image;
    let memfd = image.executable.as_ref().is_some_and(|path| path.as_bytes().starts_with(b"memfd:"));
    match () {
        () if image.nameless && memfd => "memfd",
        () if process.replaced => "replaced",
        () if process.now.nameless() || image.nameless => "deleted",
        () if image.detached => "unreachable",
        () => "present",
    }
}

/// Names of the capabilities, by bit (`include/uapi/linux/capability.h`).
static CAPABILITIES: Names = names![
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Those whose bits are set.
#[must_use]
pub fn capabilities(bits: u64) -> Flags {
    Flags::new(bits, &CAPABILITIES)
}

/// The name of a terminal's device under /dev (`Documentation/admin-guide/devices.txt`).
fn terminal(major: u32, minor: u32) -> String {
    match (major, minor) {
        (136..=143, _) => format!("pts/{}", (major - 136) * 256 + minor),
        (4, 0..64) => format!("tty{minor}"),
        (4, _) => format!("ttyS{}", minor - 64),
        (5, 1) => "console".to_owned(),
        (204, 64..) => format!("ttyAMA{}", minor - 64),
        (229, _) => format!("hvc{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

/// A path as it was given, from the working directory on.
fn absolute(path: &Text, directory: Option<&Text>) -> Text {
    match directory {
        Some(directory) if !path.as_bytes().starts_with(b"/") => {
            let relative = path.as_bytes().strip_prefix(b"./").unwrap_or(path.as_bytes());
            let mut joined = directory.as_bytes().to_vec();
            if joined.last() != Some(&b'/') {
                joined.push(b'/');
            }
            joined.extend_from_slice(relative);
            Text::from(joined)
        }
        _ => path.clone(),
    }
}

/// The id of the container in a cgroup's path: runtimes name the cgroup after it, with their own
/// prefix and suffix (`docker-<id>.scope`, `/docker/<id>`, `cri-containerd-<id>.scope`).
#[must_use]
pub fn container(cgroup: &Text) -> Option<Text> {
    const LEN: usize = 64;
    let mut end = cgroup.len();
    for name in cgroup.as_bytes().rsplit(|byte| *byte == b'/') {
        let bare = name.strip_suffix(b".scope").unwrap_or(name);
        let start = end - name.len();
        if let Some((before, id)) = bare.len().checked_sub(LEN).and_then(|at| bare.split_at_checked(at)) {
            let hex = id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if hex && before.last().is_none_or(|byte| *byte == b'-') {
                return Some(cgroup.slice(start + before.len()..start + bare.len()));
            }
        }
        end = start.saturating_sub(1);
    }
    None
}

/// Names by user id, the first that has it (`passwd(5)`).
#[must_use]
pub fn users(path: &Path) -> HashMap<u32, Text> {
    let small = fs::metadata(path).is_ok_and(|meta| meta.len() <= LARGEST_PASSWD);
    let bytes = if small { fs::read(path).unwrap_or_default() } else { Vec::new() };
    let mut users = HashMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut columns = line.split(|byte| *byte == b':');
        let name = columns.next().filter(|name| !name.is_empty());
        let id = columns.nth(1).and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.parse().ok());
        if let (Some(name), Some(id)) = (name, id) {
            users.entry(id).or_insert_with(|| Text::copy_from(name));
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Table;

    #[test]
    fn containers_are_named_by_their_cgroup() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/k/cri-containerd-{id}.scope/init"),
        ] {
            assert_eq!(container(&Text::from(path)), Some(Text::from(id.clone())));
        }
        for path in [
            "/".to_owned(),
            format!("/x{id}"),
            format!("/{}", &id[1..]),
            "/user.slice/user-1000.slice".to_owned(),
        ] {
            assert_eq!(container(&Text::from(path)), None);
        }
    }

    #[test]
    fn terminals_have_the_names_of_their_devices() {
        assert_eq!(terminal(136, 3), "pts/3");
        assert_eq!(terminal(137, 3), "pts/259");
        assert_eq!(terminal(4, 1), "tty1");
        assert_eq!(terminal(4, 64), "ttyS0");
    }

    #[test]
    fn a_script_is_named_from_the_root() {
        let directory = Text::from("/tmp");
        assert_eq!(absolute(&Text::from("./x.sh"), Some(&directory)), Text::from("/tmp/x.sh"));
        assert_eq!(absolute(&Text::from("/x.sh"), Some(&directory)), Text::from("/x.sh"));
        assert_eq!(absolute(&Text::from("x"), Some(&Text::from("/"))), Text::from("/x"));
    }

    fn records(enricher: &mut Enricher) -> (Record, Record) {
        let mut table = Table::new("boot".to_owned(), Boot(0));
        let key = |pid| Key { pid, start: 1 };
        let actor = Actor { tty_major: 136, login_uid: 0, login_session: 1, ..Actor::default() };
        table.found(key(1), actor, Image { executable: Some(Text::from("/bin/a")), ..Image::default() });
        let actor = Actor { parent: 1, parent_start: 1, cgroup: 5, namespaces: [1; 7], ..actor };
        let process = table.born(key(2), actor, key(1));
        process.cgroup = Some(Text::from("/docker/".to_owned() + &"0".repeat(64)));
        let (mut once, mut again) = (Record::new(), Record::new());
        enricher.set(process, &mut once);
        enricher.set(process, &mut again);
        (once, again)
    }

    #[test]
    fn every_field_has_a_stretch_and_what_is_known_is_not_asked_again() {
        let mut enricher = Enricher::new(PathBuf::from("/etc/passwd"), Boot(0));
        let (once, again) = records(&mut enricher);
        assert_eq!(once, again);
        assert_eq!(enricher.known.len(), 1);
        for field in [Field::ProcessParentExecutable, Field::ContainerId, Field::SensorLoginSession] {
            assert!(once.has(field), "{field:?}");
        }
        let mut table = Table::new("boot".to_owned(), Boot(0));
        let process = table.found(Key::default(), Actor::default(), Image::default());
        for pid in 1..100 {
            process.actor.parent = pid;
            let mut record = Record::new();
            enricher.set(process, &mut record);
            assert_eq!(record.get(Field::ProcessParentPid), Some(&Value::U64(u64::from(pid))));
        }
        assert_eq!(enricher.known.len(), KNOWN_MOST);
        enricher.refresh(Boot(7));
        assert!(enricher.known.is_empty());
        assert_eq!(records(&mut enricher).0, once, "nothing of a process moves with the clock");
    }

    #[test]
    fn capabilities_are_named_by_bit() {
        let named = capabilities(1 | 1 << 21 | 1 << 63).words().collect::<Vec<_>>();
        assert_eq!(named, ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
    }
}
