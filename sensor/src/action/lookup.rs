//! `sensor lookup`: what is known of a file by its hash.
//!
//! Its status is the verdict: 0 somebody knows the file and nobody objects, 1 it is malicious and nothing else, 4 nobody can say. So
//! what goes wrong here is never 1 (`docs/decisions/0024-the-status-of-a-lookup.md`).

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use super::{
    Failure, Format, HASHED_MOST, Status, Subject, colour, configuration, host, images, list, partly, width,
};
use crate::{
    evidence::folder::hexadecimal,
    field::Field,
    format::text::escape,
    host::Host,
    look::{
        described::find,
        hashed::{self, Hashed, Role, Wanted},
    },
    package::Fingerprint,
    record::{Record, Text},
    reputation::{Answer, Verdict, decisive},
};

mod ask;
mod report;

/// `sensor lookup`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 somebody knows it and nobody objects; 1 it is malicious; 2 wrong usage; \
    3 not permitted; 4 nobody can say: unknown (which isn't clean), suspicious, or not all could be asked."
)]
pub struct Lookup {
    /// A process, a file, or a SHA-256; a file that is called like a number or a hash as ./NAME.
    #[arg(value_name = "PID|PATH|SHA256")]
    pub what: OsString,
    /// Of a process, also what else it has mapped to be executed.
    #[arg(long)]
    pub mappings: bool,
    /// Ask nobody outside of this host.
    #[arg(long)]
    pub offline: bool,
    /// Ask VirusTotal also when a list or a package of this host has answered.
    #[arg(long)]
    pub always: bool,
    /// Ask VirusTotal anew, whatever it answered before.
    #[arg(long)]
    pub fresh: bool,
    /// Also ask file systems that a program or another host answers for (FUSE, NFS): they may never do so.
    #[arg(long)]
    pub ask_all: bool,
    /// Configuration file (TOML): its section `lookup` names lists, key and service.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// A file that is asked about, and what was answered.
struct Item {
    sha256: Text,
    /// How it is called in sentences.
    name: String,
    hashed: Option<(Hashed, Fingerprint)>,
    answers: Vec<Answer>,
}

impl Item {
    /// `own`: its path is one of our own root.
    fn of(file: Hashed, own: bool) -> Self {
        let real = || match file.role {
            // It was named as somebody likes it.
            Role::File => std::fs::canonicalize(OsStr::from_bytes(file.path.as_bytes())).ok(),
            Role::Executable | Role::Mapping => Some(OsStr::from_bytes(file.path.as_bytes()).into()),
        };
        let path = Some(own && file.state == "present").filter(|there| *there).and_then(|_| real());
        let fingerprint = Fingerprint {
            path: path.map(|path| Text::copy_from(path.as_os_str().as_bytes())),
            md5: file.md5.clone().unwrap_or_default(),
            sha256: file.digest.sha256.clone(),
        };
        Self {
            sha256: file.digest.sha256.clone(),
            name: escape(file.path.as_bytes()),
            hashed: Some((file, fingerprint)),
            answers: Vec::new(),
        }
    }

    fn verdict(&self) -> Verdict {
        decisive(&self.answers).map_or(Verdict::Unknown, |answer| answer.verdict)
    }

    /// Whether a list or a package has decided.
    fn decided(&self) -> bool {
        matches!(self.verdict(), Verdict::Malicious | Verdict::KnownGood)
    }
}

/// Looks it up.
///
/// # Errors
/// When it is malicious (status 1), or nobody can say (status 4).
pub fn act(args: &Lookup) -> Result<(), Failure> {
    let answer = answer(args).map_err(|failure| match failure.status {
        Status::Failed => Failure { status: Status::Part, ..failure },
        _ => failure,
    })?;
    answer.end()
}

/// What all came to.
#[derive(Default)]
struct Outcome {
    malicious: Vec<String>,
    /// Whom nobody called bad, and whom somebody should have known.
    unsure: Vec<String>,
    /// What couldn't be asked.
    parts: Vec<String>,
}

impl Outcome {
    fn end(mut self) -> Result<(), Failure> {
        if !self.malicious.is_empty() {
            self.malicious.append(&mut self.parts);
            return Err(Failure::new(Status::Failed, self.malicious.join("; ")));
        }
        match self.unsure.is_empty() {
            true => partly(&self.parts),
            false => {
                self.unsure.append(&mut self.parts);
                Err(Failure::new(Status::Part, self.unsure.join("; ")))
            }
        }
    }
}

fn answer(args: &Lookup) -> Result<Outcome, Failure> {
    let config = configuration(args.config.as_deref(), None)?.lookup;
    let host = host()?;
    let (pid, mut items, mut parts) = items(&host, args)?;
    ask::lists(&config, &mut items, &mut parts);
    ask::packages(host.root(), &mut items);
    if !args.offline
        && let Some(url) = config.url.get()
    {
        ask::virustotal(&config, url, args, &host, &mut items, &mut parts);
    }
    let rows: Vec<Record> = items.iter().map(|item| row(&host, pid, item)).collect();
    // The verdict is told by the status all the same.
    let written = list(args.format, &rows, || report::text(&items, width().is_some() && colour()));
    parts.extend(written.err().map(|failure| failure.chain()));
    let mut outcome = Outcome { parts, ..Outcome::default() };
    for item in &items {
        let sentence = report::sentence(item);
        match item.verdict() {
            Verdict::Malicious => outcome.malicious.push(sentence),
            Verdict::Suspicious | Verdict::Unknown => outcome.unsure.push(sentence),
            Verdict::KnownGood | Verdict::Undetected => {}
        }
    }
    Ok(outcome)
}

/// The process that was asked for, if it is one; the files; what couldn't be hashed.
type Asked = (Option<u32>, Vec<Item>, Vec<String>);

/// What was asked for.
fn items(host: &Host, args: &Lookup) -> Result<Asked, Failure> {
    let digits = args.what.to_str().map(str::to_ascii_lowercase).filter(|word| hexadecimal(word, 64));
    if let Some(digits) = digits {
        let item = Item { name: digits.clone(), sha256: digits.into(), hashed: None, answers: Vec::new() };
        return Ok((None, vec![item], Vec::new()));
    }
    let subject = Subject::of(&args.what).map_err(|error| Failure::new(Status::Usage, error))?;
    let wanted = Wanted {
        file_most: HASHED_MOST,
        most: HASHED_MOST.saturating_mul(4),
        md5: true,
        mappings: args.mappings,
        ask_all: args.ask_all,
    };
    let (pid, images) = images(host, &subject, wanted)?;
    let own = pid.is_none_or(|pid| ask::lives_with_us(host, pid));
    Ok((pid, images.files.into_iter().map(|file| Item::of(file, own)).collect(), images.parts))
}

fn row(host: &Host, pid: Option<u32>, item: &Item) -> Record {
    let mut record = host.common();
    record.set(Field::Timestamp, host.now());
    record.set(Field::EventKind, "state");
    record.set(Field::EventCategory, &["file"][..]);
    record.set(Field::EventType, &["info"][..]);
    if let Some(pid) = pid {
        record.set(Field::ProcessPid, pid);
    }
    match &item.hashed {
        Some((file, _)) => {
            hashed::set(file, &mut record);
            find(&mut record, file.findings());
        }
        None => record.set(Field::FileHashSha256, item.sha256.clone()),
    }
    let (verdict, sentence) = (item.verdict(), report::sentence(item));
    record.set(Field::SensorReputationVerdict, verdict.word());
    if !item.answers.is_empty() {
        record.set(Field::SensorReputationAnswers, item.answers.iter().map(told).collect::<Vec<_>>());
    }
    record.set(Field::SensorReason, sentence.clone());
    if verdict.severity() != 0 {
        find(&mut record, [(verdict.severity(), sentence)]);
    }
    record
}

fn told(answer: &Answer) -> Record {
    let mut record = Record::new();
    record.set(Field::AnswerSource, answer.source.clone());
    record.set(Field::AnswerVerdict, answer.verdict.word());
    record.set(Field::AnswerDetail, answer.detail.clone());
    if let Some((malicious, engines)) = answer.engines {
        record.set(Field::AnswerMalicious, malicious);
        record.set(Field::AnswerEngines, engines);
    }
    if let Some(age_s) = answer.age_s {
        record.set(Field::AnswerAgeS, age_s);
    }
    record
}
