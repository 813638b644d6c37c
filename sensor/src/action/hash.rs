//! `sensor hash`: the SHA-256 of what is really running, or of a file.

use std::ffi::OsString;

use super::{Failure, Format, HASHED_MOST, Status, Subject, host, images, list, partly, table};
use crate::{
    field::Field,
    format::{
        table::{Head, Line, size},
        text::escape,
    },
    host::Host,
    look::{
        described::find,
        hashed::{self, Hashed, Images, Role, Wanted},
    },
    record::Record,
};

/// All files together may have so many times the bytes of the largest.
const FILES: u64 = 4;

/// `sensor hash`.
#[derive(Debug, clap::Args)]
pub struct Hash {
    /// A process, or a file; a file that is called like a number as ./NUMBER.
    #[arg(value_name = "PID|PATH")]
    pub what: OsString,
    /// Largest file that is hashed, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = HASHED_MOST)]
    pub max_bytes: u64,
    /// Also ask file systems that a program or another host answers for (FUSE, NFS): they may never do so.
    #[arg(long)]
    pub ask_all: bool,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Hashes what was asked for.
///
/// # Errors
/// When it isn't there or can't be read, or not all of it could be; the parts are named.
pub fn act(args: &Hash) -> Result<(), Failure> {
    let subject = Subject::of(&args.what).map_err(|error| Failure::new(Status::Usage, error))?;
    let host = host()?;
    let wanted = Wanted {
        file_most: args.max_bytes,
        most: args.max_bytes.saturating_mul(FILES),
        md5: false,
        mappings: true,
        ask_all: args.ask_all,
    };
    let (pid, mut images) = images(&host, &subject, wanted)?;
    let rows: Vec<Record> = images.files.iter().map(|file| row(&host, pid, file, &images)).collect();
    list(args.format, &rows, || table(&heads(), &lines(&rows, &images)))?;
    images.parts.extend(
        images
            .files
            .iter()
            .filter(|file| file.changed)
            .map(|file| format!("one state of {}: it changed at each reading", escape(file.path.as_bytes()))),
    );
    partly(&images.parts)
}

fn row(host: &Host, pid: Option<u32>, file: &Hashed, images: &Images) -> Record {
    let mut record = host.common();
    record.set(Field::Timestamp, host.now());
    record.set(Field::EventKind, "state");
    record.set(Field::EventCategory, &["file"][..]);
    record.set(Field::EventType, &["info"][..]);
    if let Some(pid) = pid {
        record.set(Field::ProcessPid, pid);
    }
    hashed::set(file, &mut record);
    find(&mut record, file.findings());
    if file.role == Role::Executable {
        find(&mut record, images.findings());
    }
    record
}

fn heads() -> [Head; 5] {
    let columns = [("SHA256", false), ("SIZE", true), ("ROLE", false), ("STATE", false), ("FILE", false)];
    columns.map(|(title, right)| Head { title, right })
}

fn lines(rows: &[Record], images: &Images) -> Vec<Line> {
    let line = |(row, file): (&Record, &Hashed)| Line {
        cells: vec![
            file.digest.sha256.to_str_lossy().into_owned(),
            size(file.digest.size),
            file.role.word().to_owned(),
            if file.state == "present" { String::new() } else { file.state.to_owned() },
            escape(file.path.as_bytes()),
        ],
        severity: row.number(Field::EventSeverity).unwrap_or(0),
        notes: row.texts(Field::SensorFindings).iter().map(|note| note.to_str_lossy().into_owned()).collect(),
    };
    rows.iter().zip(&images.files).map(line).collect()
}
