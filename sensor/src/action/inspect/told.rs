//! What was found of a process, as fields.

use super::Facts;
use crate::{
    enrich::capabilities,
    evidence::folder::Name,
    field::Field,
    net::{
        self,
        found::{Found, Kind},
    },
    process::Process,
    procfs::descriptors::Target,
    record::{Record, Text, Value},
    redact::Redactor,
};

/// Modes of seccomp, by number (`include/uapi/linux/seccomp.h`).
const SECCOMP: [&str; 3] = ["disabled", "strict", "filter"];
/// Fields of arguments, which may hold secrets.
const ARGUMENTS: [Field; 2] = [Field::ProcessArgs, Field::ProcessParentArgs];

/// Sets all but what was kept before.
pub(super) fn set(facts: &Facts, ancestors: &[&Process], record: &mut Record) {
    if let Some(own) = facts.images.files.first() {
        record.set(Field::ProcessHashSha256, own.digest.sha256.clone());
        record.set(Field::FileSize, own.digest.size);
    }
    if !facts.environment.is_empty() {
        record.set(Field::ProcessEnvVars, facts.environment.clone());
    }
    record.set(Field::SensorCapabilitiesBounding, capabilities(facts.kept.bounding));
    let mode = facts.kept.seccomp.and_then(|mode| SECCOMP.get(usize::try_from(mode).ok()?));
    if let Some(mode) = mode {
        record.set(Field::SensorSeccompMode, *mode);
    }
    if let Some(filters) = facts.kept.filters {
        record.set(Field::SensorSeccompFilters, filters);
    }
    set_all(Field::SensorAncestors, ancestors.iter().map(|process| ancestor(process)).collect(), record);
    let mappings = facts.images.files.iter().skip(1).map(|file| {
        let mut record = Record::new();
        record.set(Field::MappingPath, file.path.clone());
        record.set(Field::MappingSha256, file.digest.sha256.clone());
        record.set(Field::MappingState, file.state);
        record
    });
    set_all(Field::SensorMappings, mappings.collect(), record);
    let open = facts.descriptors.iter().map(|descriptor| {
        let mut record = Record::new();
        record.set(Field::OpenFileDescriptor, descriptor.number);
        let socket = match descriptor.target {
            Target::Socket(inode) => facts.sockets.get(&inode),
            _ => None,
        };
        record.set(Field::OpenFileTarget, target(&descriptor.target, socket));
        if let Some((received, sent)) = socket.and_then(traffic) {
            record.set(Field::OpenFileRxBytes, received);
            record.set(Field::OpenFileTxBytes, sent);
        }
        record
    });
    set_all(Field::SensorOpenFiles, open.collect(), record);
}

/// An array of none says nothing.
fn set_all(field: Field, records: Vec<Record>, record: &mut Record) {
    if !records.is_empty() {
        record.set(field, records);
    }
}

fn ancestor(process: &Process) -> Record {
    let mut record = Record::new();
    record.set(Field::AncestorPid, process.key.pid);
    if !process.entity.is_empty() {
        record.set(Field::AncestorEntityId, process.entity.clone());
    }
    if let Some(path) = &process.image.executable {
        record.set(Field::AncestorExecutable, path.clone());
    }
    if !process.image.args.is_empty() {
        record.set(Field::AncestorArgs, process.image.args.clone());
    }
    record
}

/// What of its executable was kept before.
pub(super) fn set_evidence(facts: &Facts, record: &mut Record) {
    let Some((entry, folder)) = &facts.evidence else { return };
    let sha256 = match &entry.name {
        Name::Image(sha256) => sha256,
        Name::Runner(runner) => &runner.sha256,
        Name::Unfinished => return,
    };
    let path = folder.join(&*sha256.to_str_lossy());
    record.set(Field::SensorEvidenceSha256, sha256.clone());
    if matches!(entry.name, Name::Image(_)) {
        record.set(Field::SensorEvidenceSize, entry.size);
    }
    record.set(Field::SensorEvidencePath, Text::copy_from(path.as_os_str().as_encoded_bytes()));
}

/// Masks the secrets.
pub(super) fn mask(record: &mut Record, redactor: &Redactor) {
    for field in ARGUMENTS {
        let masked = masked(record.texts(field), redactor);
        if !masked.is_empty() {
            record.set(field, masked);
        }
    }
    let variables: Vec<Text> = record
        .texts(Field::ProcessEnvVars)
        .iter()
        .map(|variable| variable.replaced(&redactor.variable(variable.as_bytes())))
        .collect();
    if !variables.is_empty() {
        record.set(Field::ProcessEnvVars, variables);
    }
    if let Some(Value::Records(ancestors)) = record.get(Field::SensorAncestors) {
        let mut ancestors = ancestors.clone();
        for ancestor in &mut ancestors {
            let masked = masked(ancestor.texts(Field::AncestorArgs), redactor);
            if !masked.is_empty() {
                ancestor.set(Field::AncestorArgs, masked);
            }
        }
        record.set(Field::SensorAncestors, ancestors);
    }
}

fn masked(args: &[Text], redactor: &Redactor) -> Vec<Text> {
    let bytes: Vec<&[u8]> = args.iter().map(Text::as_bytes).collect();
    args.iter().zip(redactor.arguments(&bytes)).map(|(arg, masked)| arg.replaced(&masked)).collect()
}

/// Bytes received and sent.
pub(super) fn traffic(socket: &Found) -> Option<(u64, u64)> {
    match &socket.kind {
        Kind::Inet(inet) => inet.traffic,
        _ => None,
    }
}

/// Where a descriptor leads, as a text of the host's.
pub(super) fn target(target: &Target, socket: Option<&Found>) -> Text {
    match target {
        Target::File(path) => path.clone(),
        Target::Anonymous(kind) => kind.clone(),
        Target::Pipe(inode) => Text::from(format!("pipe {inode}")),
        Target::Namespace(kind, number) => Text::from(format!("{} namespace {number}", kind.to_str_lossy())),
        Target::Socket(inode) => match socket {
            Some(socket) => what(socket),
            None => Text::from(format!("socket {inode}")),
        },
    }
}

fn what(socket: &Found) -> Text {
    let state = socket.state.word();
    let text = match &socket.kind {
        Kind::Inet(inet) => {
            let name = net::transport(inet.protocol).unwrap_or(if inet.raw { "raw" } else { "ip" });
            let end = |(ip, port): (std::net::IpAddr, u16)| std::net::SocketAddr::new(ip, port).to_string();
            match inet.remote.1 != 0 || !inet.remote.0.is_unspecified() {
                true => format!("{name} {} -> {} {state}", end(inet.local), end(inet.remote)),
                false => format!("{name} {} {state}", end(inet.local)),
            }
        }
        Kind::Unix { name, .. } => {
            // An abstract name is shown with a sign, as `ss` does.
            let mut text = b"unix ".to_vec();
            match name.split_first() {
                Some((0, rest)) => text.extend([b"@", rest].concat()),
                Some(_) => text.extend(name),
                None => text.extend(b"-"),
            }
            text.extend(format!(" {state}").bytes());
            return Text::from(text);
        }
        Kind::Packet { protocol, device } => format!("packet {protocol:#06x} interface {device}"),
        Kind::Netlink { protocol, .. } => match net::found::netlink(*protocol) {
            Some(name) => format!("netlink {name}"),
            None => format!("netlink {protocol}"),
        },
        Kind::Vsock { local, remote } => {
            format!("vsock {}:{} -> {}:{} {state}", local.0, local.1, remote.0, remote.1)
        }
    };
    Text::from(text)
}
