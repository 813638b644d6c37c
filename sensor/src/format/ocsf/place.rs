//! What stands where in a line, by what the line is about: the tables of all members.

use super::class::Subject;
use super::source::Source::{
    self, First, Fixed, Hash, Held, Last, Made, Millis, Or, Unless, Whole, With, Words,
};
use super::source::{self, VERSION};
use crate::field::{Field, Kind};
use crate::format::Plan;

/// Members in the order in which they are written.
pub(super) struct Layout {
    pub(super) subject: Subject,
    pub(super) plan: Plan,
    pub(super) sources: Vec<Source>,
    /// By field: whether no member tells it.
    unmapped: Vec<bool>,
}

/// Members that are the same whatever a line is about.
const HEAD: [(&str, Source); 21] = [
    ("activity_id", Made(source::activity_id)),
    ("activity_name", Made(source::activity_name)),
    ("category_uid", Made(source::category_uid)),
    ("category_name", Made(source::category_name)),
    ("class_uid", Made(source::class_uid)),
    ("class_name", Made(source::class_name)),
    ("type_uid", Made(source::type_uid)),
    ("type_name", Made(source::type_name)),
    ("severity_id", Made(source::severity_id)),
    ("severity", Made(source::severity_name)),
    ("metadata.version", Fixed(VERSION)),
    ("metadata.profiles", Fixed(r#"["container","datetime","host","linux/linux_users","security_control"]"#)),
    ("metadata.product.name", Fixed(r#""sensor""#)),
    ("metadata.product.vendor_name", Fixed(r#""sensor""#)),
    ("device.type_id", Fixed("0")),
    ("device.os.name", Fixed(r#""Linux""#)),
    ("device.os.type_id", Fixed("200")),
    ("status", With(&[Field::EventOutcome], source::status)),
    ("status_id", With(&[Field::EventOutcome], source::status_id)),
    ("file.name", Last(Field::FilePath, Some(Field::FileName))),
    ("file.type_id", With(&[Field::FilePath], source::regular)),
];

/// What the dictionary can't say of a process that acts.
const PROCESS: [(&str, Source); 9] = [
    ("actor.process.euid", Whole(Field::ProcessUserId)),
    ("actor.process.egid", Whole(Field::ProcessGroupId)),
    ("actor.process.tid", Held(Field::ProcessThreadId)),
    ("actor.process.cmd_line", Words(Field::ProcessArgs)),
    ("actor.process.file.name", Last(Field::ProcessExecutable, None)),
    ("actor.process.file.type_id", With(&[Field::ProcessExecutable], source::regular)),
    ("actor.process.parent_process.cmd_line", Words(Field::ProcessParentArgs)),
    ("actor.process.parent_process.file.name", Last(Field::ProcessParentExecutable, None)),
    ("actor.process.parent_process.file.type_id", With(&[Field::ProcessParentExecutable], source::regular)),
];

const BORN: [(&str, Source); 4] = [
    ("launch_type_id", Made(source::launch_type_id)),
    ("launch_type", Made(source::launch_type)),
    // An actor is wanted: where the parent isn't known, the user.
    ("actor.user.uid", Unless(&[Field::ProcessParentPid], Field::UserId)),
    ("actor.user.name", Unless(&[Field::ProcessParentPid], Field::UserName)),
];

const EXISTS: [(&str, Source); 2] = [("query_result_id", Fixed("1")), ("query_result", Fixed(r#""Exists""#))];

const FOUND_PROCESS: [(&str, Source); 1] = [("query_evidence.query_type_id", Fixed("10"))];

const FOUND_SESSION: [(&str, Source); 7] = [
    ("query_evidence.query_type_id", Fixed("12")),
    ("query_evidence.session.uid", Held(Field::SensorSessionId)),
    ("query_evidence.session.terminal", Held(Field::SensorTty)),
    ("query_evidence.session.issuer", Held(Field::SensorSessionKind)),
    ("query_evidence.session.is_remote", Made(source::is_remote)),
    ("query_evidence.session.created_time", Millis(Field::SensorSessionSince)),
    ("query_evidence.session.created_time_dt", Held(Field::SensorSessionSince)),
];

const FOUND_SOCKET: [(&str, Source); 3] = [
    ("query_evidence.query_type_id", Fixed("7")),
    ("query_evidence.connection_info.direction_id", Fixed("0")),
    ("query_evidence.connection_info.protocol_ver_id", With(&[Field::NetworkType], source::protocol_version)),
];

const FOUND_FILE: [(&str, Source); 4] = [
    ("query_evidence.query_type_id", Fixed("2")),
    ("query_evidence.file.name", Made(source::opened_name)),
    ("query_evidence.file.type_id", Made(source::opened_type)),
    ("query_evidence.file.type", Held(Field::SensorDescriptorKind)),
];

const FINDING: [(&str, Source); 3] = [
    ("is_alert", Fixed("true")),
    ("finding_info.uid", Held(Field::EventId)),
    ("finding_info.title", Made(source::title)),
];

const BYTES: &[Field] = &[Field::SourceBytes, Field::DestinationBytes];
const PACKETS: &[Field] = &[Field::SourcePackets, Field::DestinationPackets];
const DIRECTION: &[Field] = &[Field::NetworkTransport, Field::NetworkDirection];

const NETWORK: [(&str, Source); 12] = [
    ("connection_info.direction", With(DIRECTION, source::direction)),
    ("connection_info.direction_id", With(DIRECTION, source::direction_id)),
    ("connection_info.protocol_ver_id", With(&[Field::NetworkType], source::protocol_version)),
    ("dst_endpoint.ip", Or(Field::DestinationIp, Field::ServerIp)),
    ("dst_endpoint.port", Or(Field::DestinationPort, Field::ServerPort)),
    // Below the network layer there are no addresses: the end is this host.
    (
        "src_endpoint.hostname",
        Unless(&[Field::SourceIp, Field::DestinationIp, Field::ServerIp], Field::HostName),
    ),
    ("traffic.bytes", With(BYTES, source::bytes)),
    ("traffic.bytes_in", With(BYTES, source::bytes_in)),
    ("traffic.bytes_out", With(BYTES, source::bytes_out)),
    ("traffic.packets", With(PACKETS, source::packets)),
    ("traffic.packets_in", With(PACKETS, source::packets_in)),
    ("traffic.packets_out", With(PACKETS, source::packets_out)),
];

const DONE: [(&str, Source); 1] = [("command_uid", Or(Field::SensorRuleId, Field::EventId))];

const CONTAINED: [(&str, Source); 4] = [
    ("command_uid", Or(Field::SensorRuleId, Field::EventId)),
    ("process.pid", First(Field::SensorTargets, Field::TargetPid)),
    ("process.uid", First(Field::SensorTargets, Field::TargetEntityId)),
    ("process.path", First(Field::SensorTargets, Field::TargetExecutable)),
];

const RULED: [(&str, Source); 4] = [
    ("command_uid", Or(Field::SensorRuleId, Field::EventId)),
    ("connection_info.direction", Made(source::barred_name)),
    ("connection_info.direction_id", Made(source::barred_id)),
    ("firewall_rule.uid", Held(Field::SensorRuleId)),
];

/// What begins a place that every class has.
const EVERYWHERE: [&str; 6] = ["device", "message", "metadata", "status", "status_code", "time"];
/// Fields that other members say, or that are of another schema.
const SAID: [Field; 4] = [Field::EcsVersion, Field::EventKind, Field::EventSeverity, Field::ProcessGroupId];

impl Layout {
    pub(super) fn new(subject: Subject) -> Self {
        let own: &[(&str, Source)] = match subject {
            Subject::Born => &BORN,
            Subject::Ended | Subject::Other => &[],
            Subject::Process => &FOUND_PROCESS,
            Subject::Session => &FOUND_SESSION,
            Subject::Socket => &FOUND_SOCKET,
            Subject::Opened => &FOUND_FILE,
            Subject::File | Subject::Image => &FINDING,
            Subject::Network => &NETWORK,
            Subject::Contained => &CONTAINED,
            Subject::Ruled => &RULED,
            Subject::Done => &DONE,
        };
        let exists: &[(&str, Source)] = if is_found(subject) { &EXISTS } else { &[] };
        let own = own.iter().chain(exists).map(|(path, source)| ((*path).to_owned(), *source));
        // What the tables say goes before what the dictionary says.
        let tables = HEAD.iter().chain(&PROCESS).map(|(path, source)| ((*path).to_owned(), *source));
        let moved = tables
            .chain(dictionary())
            .flat_map(|(path, source)| places(subject, &path).into_iter().map(move |path| (path, source)));
        let mut members: Vec<(String, Source)> = Vec::new();
        for (path, source) in own.chain(moved) {
            if !members.iter().any(|(known, _)| *known == path) {
                members.push((path, source));
            }
        }
        // So that those of one object stand together.
        members.sort_by(|(one, _), (other, _)| one.split('.').cmp(other.split('.')));
        let told: Vec<Field> = members.iter().flat_map(|(_, source)| source.fields()).chain(SAID).collect();
        let unmapped = Field::ALL.iter().map(|field| !told.contains(field)).collect();
        let plan = Plan::new(members.iter().map(|(path, _)| path.rsplit_once('.').unwrap_or(("", path))));
        Self { subject, plan, sources: members.into_iter().map(|(_, source)| source).collect(), unmapped }
    }

    /// Whether a field has no place in the line.
    pub(super) fn lacks(&self, field: Field) -> bool {
        self.unmapped.get(field as usize).copied().unwrap_or(true)
    }
}

/// What the dictionary says, for a process that acts.
fn dictionary() -> impl Iterator<Item = (String, Source)> {
    Field::ALL.iter().filter_map(|field| Some((*field, field.ocsf()?))).flat_map(|(field, path)| {
        let path = path.to_owned();
        match field.kind() {
            // Nanoseconds stand beside, in words.
            Kind::Date => vec![(format!("{path}_dt"), Held(field)), (path, Millis(field))],
            _ => match path.strip_suffix("[].value") {
                Some(hashes) => vec![(hashes.to_owned(), Hash(field))],
                // Numbers there, though texts in the Elastic Common Schema.
                None if path.ends_with(".auid") || path.ends_with(".protocol_num") => {
                    vec![(path, Whole(field))]
                }
                None => vec![(path, Held(field))],
            },
        }
    })
}

/// Where a member of a process that acts stands in a line about something else; nowhere where the class has no place.
fn places(subject: Subject, path: &str) -> Vec<String> {
    let root = path.split('.').next().unwrap_or(path);
    if EVERYWHERE.contains(&root.strip_suffix("_dt").unwrap_or(root)) || !path.contains('.') && is_head(path)
    {
        return vec![path.to_owned()];
    }
    let process = path.strip_prefix("actor.process.");
    let one = |prefix: &str, rest: &str| vec![format!("{prefix}{rest}")];
    match (subject, process) {
        (Subject::Born, Some(rest)) => {
            let parent = rest.strip_prefix("parent_process.");
            let parent = parent.map(|rest| format!("actor.process.{rest}"));
            one("process.", rest).into_iter().chain(parent).collect()
        }
        (Subject::Ended, Some(rest)) => vec![format!("process.{rest}"), path.to_owned()],
        (Subject::Process, Some(rest)) => one("query_evidence.process.", rest),
        (Subject::Socket, None) if root == "connection_info" => one("query_evidence.", path),
        (Subject::Opened, None) if root == "file" => one("query_evidence.", path),
        (Subject::Image, Some(rest)) => one("evidences[].process.", rest),
        (Subject::File, _) if root == "actor" => one("evidences[].", path),
        (Subject::File | Subject::Image, None) if root == "file" => one("evidences[].", path),
        (Subject::Ended, None) if root == "exit_code" => vec![path.to_owned()],
        (Subject::Network | Subject::Contained | Subject::Ruled | Subject::Done | Subject::Other, _)
            if root == "actor" =>
        {
            vec![path.to_owned()]
        }
        (Subject::Network, None) if matches!(root, "connection_info" | "src_endpoint" | "dst_endpoint") => {
            vec![path.to_owned()]
        }
        _ => Vec::new(),
    }
}

/// Whether it is something that was looked for, and is there.
fn is_found(subject: Subject) -> bool {
    matches!(subject, Subject::Process | Subject::Session | Subject::Socket | Subject::Opened)
}

/// Whether it is one of those that say what a line is.
fn is_head(path: &str) -> bool {
    HEAD.iter().any(|(head, _)| *head == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_one_object_stands_together() {
        for subject in Subject::ALL {
            assert!(Layout::new(subject).plan.has_room());
        }
    }

    #[test]
    fn what_has_no_place_is_told_all_the_same() {
        let born = Layout::new(Subject::Born);
        assert!(
            born.lacks(Field::SensorExeInode) && born.lacks(Field::ServerIp) && born.lacks(Field::FilePath)
        );
        assert!(!born.lacks(Field::ProcessPid) && !born.lacks(Field::EventOutcome));
        assert!(!Layout::new(Subject::Network).lacks(Field::ServerIp));
        assert!(Layout::new(Subject::Other).lacks(Field::ServerIp));
    }

    #[test]
    fn a_process_stands_where_its_class_has_it() {
        let at = |subject| places(subject, "actor.process.parent_process.pid");
        assert_eq!(at(Subject::Born), ["process.parent_process.pid", "actor.process.pid"]);
        assert_eq!(at(Subject::Process), ["query_evidence.process.parent_process.pid"]);
        assert_eq!(at(Subject::File), ["evidences[].actor.process.parent_process.pid"]);
        assert_eq!(places(Subject::Born, "file.path"), Vec::<String>::new());
    }
}
