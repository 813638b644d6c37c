//! The dictionary: every field that a record can carry, one row each.
//!
//! A row is: variant, name, type, where the name comes from (`ecs`: the Elastic Common Schema has
//! it; `own`: it is ours, under `sensor.`), path in OCSF or `none`, and a sentence. The order of
//! the rows is the order in which formats write: the fields of one object stand together, at
//! every level, so that nested JSON can be written in one pass.
//!
//! Variants are the name in camel case, but for the members of the objects in an array, which
//! carry the singular: `RunnerPid` is `sensor.runners.pid`.

/// What a field holds, and so how a format writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A text, from the host or from a fixed list of words.
    Keyword,
    /// Several texts: an array, also of one.
    Keywords,
    /// A 64-bit identifier: a decimal string, since JSON readers round large numbers.
    Id,
    /// An address of IPv4 or IPv6.
    Ip,
    /// A whole number.
    Long,
    /// True or false.
    Boolean,
    /// A moment: RFC 3339, UTC, nanoseconds.
    Date,
    /// An array of objects, whose members are the rows below this one.
    Objects,
    /// What formats add by themselves; a value that is set is not written.
    Raw,
}

impl Kind {
    /// The type's name in the Elastic Common Schema; arrays have the type of their elements.
    pub const fn ecs_type(self) -> &'static str {
        match self {
            Kind::Keyword | Kind::Keywords | Kind::Id => "keyword",
            Kind::Ip => "ip",
            Kind::Long => "long",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
            Kind::Objects | Kind::Raw => "object",
        }
    }

    /// Whether the field holds an array.
    pub const fn is_array(self) -> bool {
        matches!(self, Kind::Keywords | Kind::Objects)
    }
}

/// One row of the dictionary.
struct Row {
    name: &'static str,
    object: &'static str,
    short: &'static str,
    kind: Kind,
    ecs: bool,
    ocsf: Option<&'static str>,
    sentence: &'static str,
}

/// The objects that a name stands in, and what it is called there.
const fn split(name: &'static str) -> (&'static str, &'static str) {
    let mut dot = name.len();
    while dot > 0 {
        dot -= 1;
        if name.as_bytes()[dot] == b'.' {
            return (name.split_at(dot).0, name.split_at(dot + 1).1);
        }
    }
    ("", name)
}

macro_rules! path {
    (none) => {
        None
    };
    ($path:literal) => {
        Some($path)
    };
}

macro_rules! is_ecs {
    (ecs) => {
        true
    };
    (own) => {
        false
    };
}

macro_rules! fields {
    ($($variant:ident => $name:literal, $kind:ident, $origin:ident, $ocsf:tt, $sentence:literal;)+) => {
        /// A field that a record can carry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Field {
            $(#[doc = concat!("`", $name, "`: ", $sentence)] $variant,)+
        }

        impl Field {
            /// Every field, in the order of the table.
            pub const ALL: &[Field] = &[$(Field::$variant),+];
        }

        static ROWS: [Row; Field::ALL.len()] = [
            $(Row {
                name: $name,
                object: split($name).0,
                short: split($name).1,
                kind: Kind::$kind,
                ecs: is_ecs!($origin),
                ocsf: path!($ocsf),
                sentence: $sentence,
            }),+
        ];
    };
}

fields! {
    Timestamp => "@timestamp", Date, ecs, "time",
        "When it happened, by the kernel's clock.";
    EcsVersion => "ecs.version", Keyword, ecs, none,
        "Version of the Elastic Common Schema that the event follows.";

    EventKind => "event.kind", Keyword, ecs, none,
        "What sort of record this is: `event`, `alert`, `metric` or `state`.";
    EventCategory => "event.category", Keywords, ecs, none,
        "What the event is about, in the standard's words, such as `process` or `file`.";
    EventType => "event.type", Keywords, ecs, none,
        "What happened to it, in the standard's words, such as `start` or `deletion`.";
    EventAction => "event.action", Keyword, ecs, "metadata.event_code",
        "What happened, in the sensor's own words, such as `exec`.";
    EventSequence => "event.sequence", Long, ecs, "metadata.sequence",
        "Number of the event in this run of the sensor; rises by one and never skips.";
    EventId => "event.id", Keyword, ecs, "metadata.uid",
        "Identifier of the event, the same in every format and on a retry.";
    EventOutcome => "event.outcome", Keyword, ecs, "status",
        "Whether it succeeded, as far as the one who acted is concerned: `success`, `failure` or `unknown`.";
    EventReason => "event.reason", Keyword, ecs, "status_detail",
        "Why something was done, as the person said who did it.";
    EventSeverity => "event.severity", Long, ecs, none,
        "How odd it is: 21 low, 47 medium, 73 high, 99 critical.";

    HostName => "host.name", Keyword, ecs, "device.hostname",
        "Name of the host.";
    HostId => "host.id", Keyword, ecs, "device.uid",
        "The host's machine id, 32 hexadecimal digits.";
    HostBootId => "host.boot.id", Keyword, ecs, "device.boot_uid",
        "Identifier that the kernel drew at this boot, a UUID.";

    ProcessPid => "process.pid", Long, ecs, "actor.process.pid",
        "Process id in the host's pid namespace.";
    ProcessEntityId => "process.entity_id", Keyword, ecs, "actor.process.uid",
        "Identifier of the process that is not reused with its pid.";
    ProcessStart => "process.start", Date, ecs, "actor.process.created_time",
        "When the process was born.";
    ProcessEnd => "process.end", Date, ecs, "actor.process.terminated_time",
        "When the process ended.";
    ProcessExecutable => "process.executable", Keyword, ecs, "actor.process.file.path",
        "Path of the file that the process executes; for a script, of its interpreter.";
    ProcessHashSha256 => "process.hash.sha256", Keyword, ecs, "actor.process.file.hashes[].value",
        "SHA-256 of the file that the process executes, once it is known.";
    ProcessName => "process.name", Keyword, ecs, "actor.process.name",
        "The process's name for itself, at most 15 bytes (comm).";
    ProcessArgs => "process.args", Keywords, ecs, none,
        "The arguments with which the image was executed, the zeroth first.";
    ProcessArgsCount => "process.args_count", Long, ecs, none,
        "How many arguments there were, also those that were not read.";
    ProcessCommandLine => "process.command_line", Keyword, ecs, "actor.process.cmd_line",
        "A command as it was typed, or as a log has it.";
    ProcessEnvVars => "process.env_vars", Keywords, ecs, none,
        "The environment, `NAME=VALUE` each, as the memory of the process has it now; secrets are masked unless they are asked for.";
    ProcessWorkingDirectory => "process.working_directory", Keyword, ecs,
        "actor.process.working_directory",
        "The directory from which the process resolves relative paths.";
    ProcessInteractive => "process.interactive", Boolean, ecs, none,
        "Whether the process has a controlling terminal.";
    ProcessExitCode => "process.exit_code", Long, ecs, "exit_code",
        "Status with which the process ended by itself, 0 to 255.";
    ProcessThreadId => "process.thread.id", Long, ecs, none,
        "Id of the thread that acted, in the host's pid namespace.";
    ProcessThreadCapabilitiesEffective => "process.thread.capabilities.effective", Keywords, ecs, none,
        "Capabilities in force, such as `CAP_SYS_ADMIN`.";
    ProcessThreadCapabilitiesPermitted => "process.thread.capabilities.permitted", Keywords, ecs, none,
        "Capabilities that the thread may put in force.";
    ProcessTtyCharDeviceMajor => "process.tty.char_device.major", Long, ecs, none,
        "Major number of the controlling terminal.";
    ProcessTtyCharDeviceMinor => "process.tty.char_device.minor", Long, ecs, none,
        "Minor number of the controlling terminal.";
    ProcessUserId => "process.user.id", Keyword, ecs, "actor.process.user.uid",
        "Effective user id.";
    ProcessUserName => "process.user.name", Keyword, ecs, "actor.process.user.name",
        "Name of the effective user.";
    ProcessRealUserId => "process.real_user.id", Keyword, ecs, none,
        "Real user id.";
    ProcessRealUserName => "process.real_user.name", Keyword, ecs, none,
        "Name of the real user.";
    ProcessSavedUserId => "process.saved_user.id", Keyword, ecs, none,
        "Saved set-user-id.";
    ProcessGroupId => "process.group.id", Keyword, ecs, none,
        "Effective group id.";
    ProcessRealGroupId => "process.real_group.id", Keyword, ecs, none,
        "Real group id.";
    ProcessSessionLeaderPid => "process.session_leader.pid", Long, ecs, none,
        "Process id of the leader of the session.";
    ProcessParentPid => "process.parent.pid", Long, ecs, "actor.process.parent_process.pid",
        "Process id of the parent.";
    ProcessParentEntityId => "process.parent.entity_id", Keyword, ecs, "actor.process.parent_process.uid",
        "Identifier of the parent that is not reused with its pid.";
    ProcessParentStart => "process.parent.start", Date, ecs, "actor.process.parent_process.created_time",
        "When the parent was born.";
    ProcessParentExecutable => "process.parent.executable", Keyword, ecs,
        "actor.process.parent_process.file.path",
        "Path of the file that the parent executes.";
    ProcessParentName => "process.parent.name", Keyword, ecs, "actor.process.parent_process.name",
        "The parent's name for itself, at most 15 bytes (comm).";
    ProcessParentArgs => "process.parent.args", Keywords, ecs, none,
        "The parent's arguments.";
    ProcessPreviousExecutable => "process.previous.executable", Keyword, ecs, none,
        "Path of the file that the process executed before.";

    UserId => "user.id", Keyword, ecs, "actor.user.uid",
        "Effective user id of the process that acted.";
    UserName => "user.name", Keyword, ecs, "actor.user.name",
        "Name of the effective user of the process that acted.";
    UserEffectiveName => "user.effective.name", Keyword, ecs, none,
        "Name of the user as whom it ran, where another had it run.";

    ContainerId => "container.id", Keyword, ecs, "actor.process.container.uid",
        "Identifier of the container in which the process runs.";

    ErrorCode => "error.code", Keyword, ecs, "status_code",
        "Why it failed or was ended, by the kernel's name of the error, such as `ECONNREFUSED`.";

    PackageName => "package.name", Keyword, ecs, none,
        "Name of the package that owns a file of this path, by the package manager's own records.";
    PackageType => "package.type", Keyword, ecs, none,
        "Whose record that is: `deb` or `rpm`.";

    NetworkType => "network.type", Keyword, ecs, none,
        "The network layer: `ipv4` or `ipv6`; an IPv4 address mapped into IPv6 is `ipv4`.";
    NetworkIanaNumber => "network.iana_number", Keyword, ecs, "connection_info.protocol_num",
        "Number of the transport protocol, such as 6 for TCP.";
    NetworkTransport => "network.transport", Keyword, ecs, "connection_info.protocol_name",
        "Name of the transport protocol, such as `tcp`.";
    NetworkDirection => "network.direction", Keyword, ecs, "connection_info.direction",
        "Who began the connection: `egress` the host, `ingress` the other end.";
    SourceAddress => "source.address", Keyword, ecs, none,
        "Who began the connection, an address or a name, as another program has it on record.";
    SourceIp => "source.ip", Ip, ecs, "src_endpoint.ip",
        "Address of who began the connection.";
    SourcePort => "source.port", Long, ecs, "src_endpoint.port",
        "Port of who began the connection.";
    SourceBytes => "source.bytes", Long, ecs, none,
        "IP bytes that who began the connection sent, as counted here.";
    SourcePackets => "source.packets", Long, ecs, none,
        "IP packets that who began the connection sent, as counted here.";
    DestinationIp => "destination.ip", Ip, ecs, "dst_endpoint.ip",
        "Address of who was connected to.";
    DestinationPort => "destination.port", Long, ecs, "dst_endpoint.port",
        "Port of who was connected to.";
    DestinationBytes => "destination.bytes", Long, ecs, none,
        "IP bytes that who was connected to sent, as counted here.";
    DestinationPackets => "destination.packets", Long, ecs, none,
        "IP packets that who was connected to sent, as counted here.";
    ServerIp => "server.ip", Ip, ecs, none,
        "Address that a socket is bound to or listens on.";
    ServerPort => "server.port", Long, ecs, none,
        "Port that a socket is bound to or listens on.";

    FilePath => "file.path", Keyword, ecs, "file.path",
        "Path of the file, in the mount namespace of the process.";
    FileName => "file.name", Keyword, ecs, "file.name",
        "Last component of the file's path.";
    FileSize => "file.size", Long, ecs, "file.size",
        "Size of the file, in bytes.";
    FileMtime => "file.mtime", Date, ecs, "file.modified_time",
        "When the contents of the file were last changed.";
    FileHashSha256 => "file.hash.sha256", Keyword, ecs, "file.hashes[].value",
        "SHA-256 of the file.";
    FileInode => "file.inode", Id, ecs, none,
        "Inode number of the file.";
    FileDevice => "file.device", Id, ecs, none,
        "Number of the device that holds the file.";

    SensorVersion => "sensor.version", Keyword, own, "metadata.product.version",
        "Version of the sensor.";
    SensorMethod => "sensor.method", Keyword, own, none,
        "How it was done or noticed, such as `unlink`, `rename`, `replace` or `sweep`.";
    SensorReason => "sensor.reason", Keyword, own, "message",
        "Why an alert has its severity, or what a verdict comes from, in a sentence.";
    SensorSelf => "sensor.self", Boolean, own, none,
        "Whether the process that acted executes the file itself.";
    SensorArgsTruncated => "sensor.args_truncated", Boolean, own, none,
        "True when the kernel held more of the arguments than was read.";
    SensorArgsBytes => "sensor.args_bytes", Long, own, none,
        "True size of all arguments, in bytes, each with its closing zero.";
    SensorTty => "sensor.tty", Keyword, own, "actor.process.session.terminal",
        "Name of the controlling terminal, such as `pts/0`.";
    SensorSignal => "sensor.signal", Long, own, none,
        "Number of the signal that ended the process.";
    SensorSignalName => "sensor.signal_name", Keyword, own, none,
        "Name of the signal that ended the process, such as `SIGKILL`.";
    SensorCoreDumped => "sensor.core_dumped", Boolean, own, none,
        "Whether the process left a core dump.";
    SensorNoNewPrivs => "sensor.no_new_privs", Boolean, own, none,
        "Whether an exec can give the process no more privileges (no_new_privs).";
    SensorLoginUid => "sensor.login.uid", Keyword, own, "actor.process.auid",
        "User id of the login, which su and sudo don't change; absent when unset.";
    SensorLoginName => "sensor.login.name", Keyword, own, none,
        "Name of the user who logged in.";
    SensorLoginSession => "sensor.login.session", Keyword, own, "actor.process.session.uid",
        "Number that the kernel's audit gave to the login session.";
    SensorExeDevice => "sensor.exe.device", Id, own, none,
        "Number of the device that holds the executable.";
    SensorExeInode => "sensor.exe.inode", Id, own, none,
        "Inode number of the executable.";
    SensorExeNlink => "sensor.exe.nlink", Long, own, none,
        "How many names the executable's inode has.";
    SensorExeState => "sensor.exe.state", Keyword, own, none,
        "What became of the executable: `present`, `deleted`, `memfd`, `replaced` or `unreachable`.";
    SensorExeVerdict => "sensor.exe.verdict", Keyword, own, none,
        "What is to be thought of the executable: `present`, `other_mount_namespace`, `upgraded`, `replaced`, `container_upper_layer`, `hard_link_left`, `unreachable`, `deleted`, `never_named`, `memfd` or `fake_kernel_thread`; of a process without one, `kernel_thread` or `ended`; `unread` when it may not be asked for.";
    SensorFileRole => "sensor.file.role", Keyword, own, none,
        "What the file is to the process: `executable` or `mapping` (mapped to be executed); `file` where no process was asked for.";
    SensorFileState => "sensor.file.state", Keyword, own, none,
        "What became of its name: `present`, `deleted`, `replaced` or `memfd`.";
    SensorFileChanged => "sensor.file.changed", Boolean, own, none,
        "True when it changed at each reading: its hash is of no one state of it.";
    SensorReputationVerdict => "sensor.reputation.verdict", Keyword, own, none,
        "What is to be thought of the file by who knows its hash: `malicious`, `suspicious`, `known_good`, `undetected` (known, and nobody objects) or `unknown`, which isn't clean.";
    SensorReputationAnswers => "sensor.reputation.answers", Objects, own, none,
        "What each source says that knows the file, or was asked.";
    AnswerSource => "sensor.reputation.answers.source", Keyword, own, none,
        "Who says so: the path of a list, `deb`, `rpm` or `virustotal`.";
    AnswerVerdict => "sensor.reputation.answers.verdict", Keyword, own, none,
        "What that comes to, in the words of `sensor.reputation.verdict`.";
    AnswerDetail => "sensor.reputation.answers.detail", Keyword, own, none,
        "The answer in a sentence.";
    AnswerMalicious => "sensor.reputation.answers.malicious", Long, own, none,
        "How many engines call it malicious.";
    AnswerEngines => "sensor.reputation.answers.engines", Long, own, none,
        "How many engines judged it.";
    AnswerAgeS => "sensor.reputation.answers.age_s", Long, own, none,
        "How long ago it was asked, when the answer was kept since then, in seconds.";
    SensorAncestors => "sensor.ancestors", Objects, own, none,
        "Its parent, the parent of that, and so on up to the first process, as they are now.";
    AncestorPid => "sensor.ancestors.pid", Long, own, none,
        "Process id in the host's pid namespace.";
    AncestorEntityId => "sensor.ancestors.entity_id", Keyword, own, none,
        "Identifier of the process that is not reused with its pid.";
    AncestorExecutable => "sensor.ancestors.executable", Keyword, own, none,
        "Path of the file that the process executes.";
    AncestorArgs => "sensor.ancestors.args", Keywords, own, none,
        "The process's arguments.";
    SensorMappings => "sensor.mappings", Objects, own, none,
        "Files that the process has mapped to be executed, beside its executable.";
    MappingPath => "sensor.mappings.path", Keyword, own, none,
        "Path of the file.";
    MappingSha256 => "sensor.mappings.sha256", Keyword, own, none,
        "SHA-256 of what is mapped.";
    MappingState => "sensor.mappings.state", Keyword, own, none,
        "What became of its name: `present`, `deleted`, `replaced` or `memfd`.";
    SensorOpenFiles => "sensor.open_files", Objects, own, none,
        "What the process has open.";
    OpenFileDescriptor => "sensor.open_files.descriptor", Long, own, none,
        "Number of the descriptor.";
    OpenFileTarget => "sensor.open_files.target", Keyword, own, none,
        "Where it leads: a path, or what the socket is, with both ends.";
    OpenFileRxBytes => "sensor.open_files.rx_bytes", Long, own, none,
        "Bytes that a TCP connection received.";
    OpenFileTxBytes => "sensor.open_files.tx_bytes", Long, own, none,
        "Bytes that a TCP connection sent and that have arrived.";
    SensorSeccompMode => "sensor.seccomp.mode", Keyword, own, none,
        "Which system calls the process is kept from: `disabled`, `strict` or `filter`.";
    SensorSeccompFilters => "sensor.seccomp.filters", Long, own, none,
        "How many filters look at its system calls.";
    SensorFindings => "sensor.findings", Keywords, own, none,
        "What is odd, a sentence each, the oddest first.";
    SensorMatches => "sensor.matches", Keywords, own, none,
        "By which of its ids the process is one of the user who was asked for: `login`, `real`, `effective`, `saved`, `file_system`.";
    SensorEvidenceSha256 => "sensor.evidence.sha256", Keyword, own, none,
        "SHA-256 of the executable that was kept, by which `sensor recover` gives it back.";
    SensorEvidenceSize => "sensor.evidence.size", Long, own, none,
        "Its size, in bytes.";
    SensorEvidencePath => "sensor.evidence.path", Keyword, own, none,
        "Where it is kept.";
    SensorEvidenceMissing => "sensor.evidence.missing", Keyword, own, none,
        "Why the executable was not kept, in a sentence.";
    SensorScriptPath => "sensor.script.path", Keyword, own, none,
        "Path of the script that was executed, when the executable is its interpreter.";
    SensorIntervalMs => "sensor.interval_ms", Long, own, none,
        "How long the interval was in which so much was used, in milliseconds.";
    SensorUsageScope => "sensor.usage.scope", Keyword, own, none,
        "Whose usage it is: `process`, `user` for the sum of all processes of a user, or `unaccounted` for network bytes that belong to no process that is known.";
    SensorUsageDiskReadBytes => "sensor.usage.disk.read_bytes", Long, own, none,
        "Bytes read from the block layer.";
    SensorUsageDiskWriteBytes => "sensor.usage.disk.write_bytes", Long, own, none,
        "Bytes written towards the block layer.";
    SensorUsageDiskCancelledWriteBytes => "sensor.usage.disk.cancelled_write_bytes", Long, own, none,
        "Bytes that were to be written and, by truncation, never were.";
    SensorUsageFileReadBytes => "sensor.usage.file.read_bytes", Long, own, none,
        "Bytes that the process got from read calls of any kind.";
    SensorUsageFileWriteBytes => "sensor.usage.file.write_bytes", Long, own, none,
        "Bytes that the process gave to write calls of any kind.";
    SensorUsageFileReadCalls => "sensor.usage.file.read_calls", Long, own, none,
        "How many read calls were made.";
    SensorUsageFileWriteCalls => "sensor.usage.file.write_calls", Long, own, none,
        "How many write calls were made.";
    SensorUsageNetRxBytes => "sensor.usage.net.rx_bytes", Long, own, none,
        "Bytes of the IP packets that were received; of a session, what its TCP connections that are open have received, without headers.";
    SensorUsageNetTxBytes => "sensor.usage.net.tx_bytes", Long, own, none,
        "Bytes of the IP packets that were sent; of a session, what its TCP connections that are open have sent, without headers.";
    SensorUsageNetRxPackets => "sensor.usage.net.rx_packets", Long, own, none,
        "How many IP packets were received.";
    SensorUsageNetTxPackets => "sensor.usage.net.tx_packets", Long, own, none,
        "How many IP packets were sent.";
    SensorUsageCpuNs => "sensor.usage.cpu_ns", Long, own, none,
        "Time on a processor, user and system, in nanoseconds.";
    SensorUsageMaxRssBytes => "sensor.usage.max_rss_bytes", Long, own, none,
        "The most memory that was resident at once, in bytes.";
    SensorUsageRssBytes => "sensor.usage.rss_bytes", Long, own, none,
        "Memory that is resident at the end of the interval, in bytes.";
    SensorUsageConnections => "sensor.usage.connections", Long, own, none,
        "Connected sockets that are open at the end of the interval.";
    SensorSessionKind => "sensor.session.kind", Keyword, own, none,
        "How it came: `ssh`, `terminal`, `graphical`, `cron`, `container` for what was begun in a container from outside, `services` for a user's own service manager, or `login` for another.";
    SensorSessionSources => "sensor.session.sources", Keywords, own, none,
        "Who tells of it: `logind`, `utmp`, and `proc` where processes of it live.";
    SensorSessionId => "sensor.session.id", Keyword, own, none,
        "logind's id of the session.";
    SensorSessionState => "sensor.session.state", Keyword, own, none,
        "logind's state of it, or `authenticating` of a connection on which nobody has logged in yet, or `gone` where no process of it is there.";
    SensorSessionSince => "sensor.session.since", Date, own, none,
        "When it began: by logind, else utmp, else its first process.";
    SensorSessionIdleS => "sensor.session.idle_s", Long, own, none,
        "For how long nothing was typed on its terminal, in seconds, as the kernel has it in steps of 8.";
    SensorSessionCommand => "sensor.session.command", Keywords, own, none,
        "What it does: the arguments of what is in the foreground of its terminal, else of its youngest process that is no shell.";
    SensorSessionCommandPid => "sensor.session.command_pid", Long, own, none,
        "Process id of that.";
    SensorHistorySource => "sensor.history.source", Keyword, own, none,
        "Who remembers the command: `live` for a process that still runs; `bash`, `zsh`, `fish`, `ash`, `ksh`, `mksh`, `tcsh` or `sh` for a shell's history; `sudo` or `sudo-rs` for their logs.";
    SensorHistoryLine => "sensor.history.line", Long, own, none,
        "Where in the file it stands: the line, or the number that the shell gave it.";
    SensorHistoryBefore => "sensor.history.before", Date, own, none,
        "A moment before which it was run, where the file has no time of it: the next time in it, else when it was last written.";
    SensorHistoryRecorded => "sensor.history.recorded", Boolean, own, none,
        "Whether a command of that name is in its user's shell history; absent where that can't be judged.";
    SensorProcesses => "sensor.processes", Long, own, none,
        "How many processes the numbers are of.";
    SensorEnded => "sensor.ended", Boolean, own, none,
        "Whether it ended before the interval did.";
    SensorUnaccounted => "sensor.unaccounted", Boolean, own, none,
        "True for what the whole host used and could be given to nobody.";
    SensorRemoteIp => "sensor.remote.ip", Keyword, own, none,
        "Address at the other end of connections.";
    SensorCapabilitiesBounding => "sensor.capabilities.bounding", Keywords, own, none,
        "Capabilities that the process could ever get by executing something.";
    SensorCapabilitiesGained => "sensor.capabilities.gained", Keywords, own, none,
        "Permitted capabilities that the process had not before this exec.";
    SensorNamespaceCgroup => "sensor.namespace.cgroup", Id, own, none,
        "Inode number of the cgroup namespace.";
    SensorNamespaceIpc => "sensor.namespace.ipc", Id, own, none,
        "Inode number of the IPC namespace.";
    SensorNamespaceMnt => "sensor.namespace.mnt", Id, own, none,
        "Inode number of the mount namespace.";
    SensorNamespaceNet => "sensor.namespace.net", Id, own, none,
        "Inode number of the network namespace.";
    SensorNamespacePid => "sensor.namespace.pid", Id, own, none,
        "Inode number of the pid namespace.";
    SensorNamespaceUser => "sensor.namespace.user", Id, own, none,
        "Inode number of the user namespace.";
    SensorNamespaceUts => "sensor.namespace.uts", Id, own, none,
        "Inode number of the UTS namespace.";
    SensorCgroupId => "sensor.cgroup.id", Id, own, none,
        "Number of the process's cgroup in the unified hierarchy.";
    SensorCgroupPath => "sensor.cgroup.path", Keyword, own, none,
        "Path of the process's cgroup in the unified hierarchy.";
    SensorSocketCookie => "sensor.socket.cookie", Id, own, "connection_info.uid",
        "The kernel's cookie of the socket, not used again during a boot.";
    SensorSocketNetns => "sensor.socket.netns", Id, own, none,
        "Inode number of the socket's network namespace.";
    SensorSocketMptcp => "sensor.socket.mptcp", Boolean, own, none,
        "True when a process made the connection, or listens for it, by a socket of MPTCP; the other end may have fallen back to TCP.";
    SensorSocketPreexisting => "sensor.socket.preexisting", Boolean, own, none,
        "True when the socket was there before the sensor; then nobody saw when it happened.";
    SensorSocketState => "sensor.socket.state", Keyword, own, none,
        "What the socket does: `listening`, `bound`, `connected` or `other`.";
    SensorSocketName => "sensor.socket.name", Keyword, own, none,
        "What names a socket that has no port: the path or, with an `@` before it, the abstract name of one of the host itself; the protocol of one of packets (`all`) or to the kernel (`audit`); `raw` of a raw one; number and port between a machine and its guests.";
    SensorSocketInterface => "sensor.socket.interface", Long, own, none,
        "Index of the interface that the socket is bound to.";
    SensorSocketFilter => "sensor.socket.filter", Keyword, own, none,
        "Of which sort the program is that decides what the socket hears: `classic` or `extended` BPF.";
    SensorSocketSharing => "sensor.socket.sharing", Long, own, none,
        "How many sockets have this address and port together, when that is more than one (SO_REUSEPORT, SO_REUSEADDR).";
    SensorExposure => "sensor.exposure", Keyword, own, none,
        "From where the address can be reached: `loopback`, `link_local`, `private`, `public` or `wildcard`.";
    SensorWildcardAlsoIpv4 => "sensor.wildcard_also_ipv4", Boolean, own, none,
        "Whether a socket that is bound to all addresses of IPv6 takes IPv4 too.";
    SensorReach => "sensor.reach", Keyword, own, none,
        "The widest of the live addresses that lead to the socket: `none`, `loopback`, `link_local`, `private` or `public`.";
    SensorReachableBy => "sensor.reachable_by", Keywords, own, none,
        "Those addresses, the widest first; the first 32 of them.";
    SensorReachableByCount => "sensor.reachable_by_count", Long, own, none,
        "How many there are, when that is more than 32.";
    SensorFirewall => "sensor.firewall", Keyword, own, none,
        "What the firewall of the socket's network namespace does with what comes from others: `open`, `closed`, or `not_judged` when it has rules for input that aren't understood; absent where it has none.";
    SensorHeldSince => "sensor.held_since", Date, own, none,
        "When the oldest of the processes was born that hold the socket: they hold it since then at the earliest. The kernel tells no socket's age.";
    SensorOwners => "sensor.owners", Objects, own, none,
        "The processes that hold the socket, the oldest first; the first 32 of them.";
    OwnerPid => "sensor.owners.pid", Long, own, none,
        "Process id in the host's pid namespace.";
    OwnerEntityId => "sensor.owners.entity_id", Keyword, own, none,
        "Identifier of the process that is not reused with its pid.";
    OwnerExecutable => "sensor.owners.executable", Keyword, own, none,
        "Path of the file that the process executes.";
    OwnerName => "sensor.owners.name", Keyword, own, none,
        "The process's name for itself, at most 15 bytes (comm).";
    OwnerVerdict => "sensor.owners.verdict", Keyword, own, none,
        "What is to be thought of its executable, as `sensor.exe.verdict`.";
    OwnerDescriptor => "sensor.owners.descriptor", Long, own, none,
        "Number of the descriptor by which it holds the socket.";
    SensorDescriptorNumber => "sensor.descriptor.number", Long, own, none,
        "Number of the descriptor.";
    SensorDescriptorKind => "sensor.descriptor.kind", Keyword, own, none,
        "What it leads to: `file`, `directory`, `character_device`, `block_device`, `fifo`, `memfd`, `socket`, `pipe`, `namespace`, `anonymous`, or `unasked` where who answers for the file may never do so.";
    SensorDescriptorMode => "sensor.descriptor.mode", Keyword, own, none,
        "What it is open for: `read`, `write`, `read_write`, or `path` when it only names the file.";
    SensorDescriptorMarks => "sensor.descriptor.marks", Keywords, own, none,
        "What is particular about it: `unlinked` (the file has no name any more), `hard_link_left` (it has another name than the one it was opened by), `memfd`, `inherited` (the parent has the same open file), `other_namespace` (its mount, or its network, is of another namespace than the process), `detached` (its mount is in no namespace that is known).";
    SensorPeers => "sensor.peers", Objects, own, none,
        "The processes that have the other end of a pipe or of a socket on this host; the first 32 of them.";
    PeerPid => "sensor.peers.pid", Long, own, none,
        "Process id in the host's pid namespace.";
    PeerExecutable => "sensor.peers.executable", Keyword, own, none,
        "Path of the file that the process executes.";
    PeerName => "sensor.peers.name", Keyword, own, none,
        "The process's name for itself, at most 15 bytes (comm).";
    PeerDescriptor => "sensor.peers.descriptor", Long, own, none,
        "Number of the descriptor by which it has the other end.";
    SensorRunners => "sensor.runners", Objects, own, none,
        "The processes that execute the file; the first 64 of them.";
    SensorRunnersCount => "sensor.runners_count", Long, own, none,
        "How many processes execute the file, where they are more than are told.";
    RunnerPid => "sensor.runners.pid", Long, own, none,
        "Process id in the host's pid namespace.";
    RunnerEntityId => "sensor.runners.entity_id", Keyword, own, none,
        "Identifier of the process that is not reused with its pid.";
    RunnerExecutable => "sensor.runners.executable", Keyword, own, none,
        "Path of the file that the process executes.";
    RunnerArgs => "sensor.runners.args", Keywords, own, none,
        "The process's arguments.";
    SensorContainMethod => "sensor.contain.method", Keyword, own, none,
        "What was done: `kill`, `freeze`, `thaw`, `port_close`, `port_isolate`, `port_confirm`, `port_undo`, or `port_expire`.";
    SensorContainTarget => "sensor.contain.target", Keyword, own, none,
        "To what it was done, as it was asked for, such as `user alice` or `port 8080/tcp`.";
    SensorContainCount => "sensor.contain.count", Long, own, none,
        "To how many processes; `sensor.targets` names the first 256.";
    SensorContainResult => "sensor.contain.result", Keyword, own, none,
        "What became of this process: `planned`, `ended`, `respawned`, `spared`, `frozen`, `thawed`, `alive`, or `refused`.";
    SensorContainMeans => "sensor.contain.means", Keyword, own, none,
        "By what it was held and ended: `cgroup`, `signals`, or `user` for one signal to all of a user.";
    SensorContainId => "sensor.contain.id", Keyword, own, none,
        "Identifier of what was done, by which frozen processes can be let go on.";
    SensorContainStarters => "sensor.contain.starters", Keywords, own, none,
        "What starts a process again: its parent, a systemd unit, lines of cron's and at's tables, of inittab, of ssh keys.";
    SensorRuleId => "sensor.rule.id", Keyword, own, none,
        "Identifier of a rule of the firewall that the sensor made.";
    SensorRuleState => "sensor.rule.state", Keyword, own, none,
        "What has become of the rule: `in_force`, `unconfirmed` (in force, and waits to be confirmed), `planned`, `pending`, `over`, `not_in_force`, `elsewhere` (of another network namespace) or `unrecorded`.";
    SensorRuleAllow => "sensor.rule.allow", Keywords, own, none,
        "The addresses that get through all the same.";
    SensorRuleKept => "sensor.rule.kept", Keywords, own, none,
        "The operator's own connections, which get through, each from its far end to this host's.";
    SensorRuleUntil => "sensor.rule.until", Date, own, none,
        "When the rule ends by itself, also for want of being confirmed; absent when it doesn't.";
    SensorRulePersist => "sensor.rule.persist", Boolean, own, none,
        "Whether the rule comes back after a boot.";
    SensorRuleWay => "sensor.rule.way", Keyword, own, none,
        "By what the rule is kept: `nftables`, or `cgroup` for a program of the sensor at the root of the cgroups.";
    SensorTargets => "sensor.targets", Objects, own, none,
        "The processes to which something was done.";
    TargetPid => "sensor.targets.pid", Long, own, none,
        "Process id in the host's pid namespace.";
    TargetEntityId => "sensor.targets.entity_id", Keyword, own, none,
        "Identifier of the process that is not reused with its pid.";
    TargetExecutable => "sensor.targets.executable", Keyword, own, none,
        "Path of the file that the process executes.";
    TargetResult => "sensor.targets.result", Keyword, own, none,
        "What became of it, such as `ended`, `frozen`, `alive` or `refused`.";
    SensorLost => "sensor.lost", Objects, own, none,
        "What was not seen or not delivered since the last such event.";
    LostStage => "sensor.lost.stage", Keyword, own, none,
        "Where it was lost, such as `ring` or `output`.";
    LostAction => "sensor.lost.action", Keyword, own, none,
        "The `event.action` of what was lost.";
    LostReason => "sensor.lost.reason", Keyword, own, none,
        "Why it was lost, such as `ring_full`.";
    LostCount => "sensor.lost.count", Long, own, none,
        "How many were lost.";
    SensorCoverage => "sensor.coverage", Objects, own, none,
        "What the sensor can see on this kernel, an object for each thing to see.";
    CoverageAction => "sensor.coverage.action", Keyword, own, none,
        "The `event.action` that is served.";
    CoverageHook => "sensor.coverage.hook", Keyword, own, none,
        "The hook that serves it.";
    CoverageState => "sensor.coverage.state", Keyword, own, none,
        "Whether it is seen: `seen`, `unseen`, `replaced` (refused, and another hook serves less exactly), `fallback` (refused, and another hook tells the same, later or at more cost), `off` (by the configuration or the command line) or `absent` (the kernel has nothing to see there).";
    CoverageReason => "sensor.coverage.reason", Keyword, own, none,
        "Why a hook was refused or something is not seen.";
    CoverageMissing => "sensor.coverage.missing", Keyword, own, none,
        "What the host lacks, in a word, such as `CAP_BPF`, `tracefs` or `cgroup2`.";
    CoverageEffect => "sensor.coverage.effect", Keyword, own, none,
        "Which events or fields are missing, late or less exact.";
    CoverageRemedy => "sensor.coverage.remedy", Keyword, own, none,
        "What would make it better.";
    SensorRaw => "sensor.raw", Raw, own, none,
        "For each text that is not UTF-8, under the name of its field: its exact bytes in base64.";
}

impl Field {
    /// The field's name, with dots between the objects that it stands in.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What the field holds.
    pub fn kind(self) -> Kind {
        self.row().kind
    }

    /// What the field means, in a sentence.
    pub fn sentence(self) -> &'static str {
        self.row().sentence
    }

    /// Where the field goes in the Open Cybersecurity Schema Framework, for a process that acts;
    /// none if it has no place there or is computed together with others.
    pub fn ocsf(self) -> Option<&'static str> {
        self.row().ocsf
    }

    /// Whether the Elastic Common Schema has the field; else it is ours, under `sensor.`.
    pub fn ecs(self) -> bool {
        self.row().ecs
    }

    /// The objects that the field stands in, outermost first, with dots between; may be none.
    pub fn object(self) -> &'static str {
        self.row().object
    }

    /// The last part of the name: what the field is called inside its object.
    pub fn short(self) -> &'static str {
        self.row().short
    }

    /// The field of that name.
    pub fn named(name: &str) -> Option<Field> {
        Field::ALL.iter().copied().find(|field| field.name() == name)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn parents(name: &str) -> impl Iterator<Item = &str> {
        name.match_indices('.').map(|(at, _)| &name[..at])
    }

    #[test]
    fn fields_of_one_object_stand_together() {
        let mut closed = HashSet::new();
        let mut open: Vec<&str> = Vec::new();
        for field in Field::ALL {
            let now: Vec<_> = parents(field.name()).collect();
            closed.extend(open.iter().filter(|object| !now.contains(object)).copied());
            for object in &now {
                assert!(!closed.contains(object), "{} reopens {object}", field.name());
            }
            open = now;
        }
    }

    #[test]
    fn own_fields_come_last_and_raw_closes() {
        let own = Field::ALL.iter().skip_while(|field| field.ecs());
        assert!(own.clone().all(|field| field.name().starts_with("sensor.") && !field.ecs()));
        assert_eq!(own.last(), Some(&Field::SensorRaw));
    }

    #[test]
    fn names_are_unique_and_plain() {
        let names: HashSet<_> = Field::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(names.len(), Field::ALL.len());
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._@".contains(&b);
        assert!(names.iter().all(|name| name.bytes().all(plain)));
    }

    #[test]
    fn a_name_is_an_object_or_a_value() {
        for field in Field::ALL {
            for parent in parents(field.name()).filter_map(Field::named) {
                assert_eq!(parent.kind(), Kind::Objects, "{}", field.name());
            }
        }
    }

    #[test]
    fn variants_are_names_in_camel_case() {
        let camel = |name: &str| -> String {
            let parts = name.split(['.', '_', '@']).filter(|part| !part.is_empty());
            parts.map(|part| part[..1].to_uppercase() + &part[1..]).collect()
        };
        for field in Field::ALL {
            let (name, variant) = (field.name(), format!("{field:?}"));
            let object = parents(name).filter_map(Field::named).last();
            let wanted = match object {
                Some(object) => {
                    camel(object.short()).trim_end_matches('s').to_owned() + &camel(field.short())
                }
                None => camel(name),
            };
            assert_eq!(variant, wanted);
        }
    }

    #[test]
    fn names_lead_back_to_fields() {
        assert!(Field::ALL.iter().all(|field| Field::named(field.name()) == Some(*field)));
        assert_eq!(Field::named("process"), None);
        assert_eq!(Field::ProcessThreadId.object(), "process.thread");
        assert_eq!(Field::ProcessThreadId.short(), "id");
        assert_eq!(Field::Timestamp.object(), "");
        assert_eq!(Field::Timestamp.short(), "@timestamp");
    }

    #[test]
    fn sentences_are_sentences() {
        assert!(Field::ALL.iter().all(|field| field.sentence().ends_with('.')));
    }
}
