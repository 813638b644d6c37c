//! `sensor recover`: a binary back, from the process that runs it or from what the sensor kept of it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use super::{Failure, Format, Status, awaiting, configuration, host, list, lister};
use crate::{
    config::Config,
    evidence::{
        digest::{Digest, copy},
        folder::{Entry, Folder, Name},
        wanted::Wanted,
    },
    field::Field,
    format::text::escape,
    host::Host,
    look,
    process::Table,
    procfs::Reader,
    record::Text,
    requests,
};

mod search;

/// `sensor recover`.
#[derive(Debug, clap::Args)]
pub struct Recover {
    /// A pid, a `process.entity_id`, or a SHA-256.
    #[arg(value_name = "PID|ENTITY_ID|SHA256")]
    pub what: Wanted,
    /// Where to write it: a file that isn't there yet.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Put it in place of a file that is there.
    #[arg(long)]
    pub force: bool,
    /// Configuration file (TOML), which says where the sensor keeps executables.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Text, or JSON; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// A binary that was found.
struct Found {
    file: File,
    /// What it must have: of what is kept, that is its name.
    sha256: Option<Text>,
    /// Where it comes from, for a person.
    from: String,
}

/// Finds it, copies it, says its hash.
///
/// # Errors
/// When it isn't found or can't be copied.
pub fn act(args: &Recover) -> Result<(), Failure> {
    let config = configuration(args.config.as_deref(), None)?;
    let host = host()?;
    let found = find(&host, &config, &args.what)?;
    let written = write(&found, &args.to, args.force)?;
    let to = Text::copy_from(args.to.as_os_str().as_encoded_bytes());
    let mut record = host.common();
    record.set(Field::Timestamp, host.boot().at(host.boot_now()));
    record.set(Field::FilePath, to.clone());
    record.set(Field::FileSize, written.size);
    record.set(Field::FileHashSha256, written.sha256.clone());
    list(args.format, [&record], || {
        let (sha256, from) = (written.sha256.to_str_lossy(), escape(found.from.as_bytes()));
        format!("{sha256}  {}\n{} bytes, from {from}\n", escape(to.as_bytes()), written.size)
    })
}

fn find(host: &Host, config: &Config, wanted: &Wanted) -> Result<Found, Failure> {
    let mut reader = Reader::new(host.proc());
    match wanted {
        Wanted::Pid(pid) => match running(&reader, *pid) {
            Ok(found) => Ok(found),
            Err(error) if denied(&error) => Err(not_permitted(&error)),
            Err(_) => kept(config, wanted),
        },
        Wanted::Entity(entity) => match kept(config, wanted) {
            Ok(found) => Ok(found),
            Err(missing) => by_entity(host, &reader, entity)?.ok_or(missing),
        },
        Wanted::Sha256(sha256) => kept(config, wanted)
            .or_else(|missing| by_hash(&mut reader, config.evidence.max_hash_bytes, sha256, missing)),
    }
}

fn denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn not_permitted(error: &io::Error) -> Failure {
    Failure::new(Status::NotPermitted, format!("opening what another user runs: {error}: run it with sudo"))
}

/// What a process runs.
fn running(reader: &Reader, pid: u32) -> io::Result<Found> {
    let file = File::open(reader.executable(pid))?;
    Ok(Found { file, sha256: None, from: format!("the running process {pid}") })
}

/// What the sensor kept, or keeps now when a run at work still holds it.
fn kept(config: &Config, wanted: &Wanted) -> Result<Found, Failure> {
    let missing = match in_folder(config, wanted) {
        Err(missing) if missing.status == Status::Failed => missing,
        found => return found,
    };
    let Some(folder) = config.state.folder.get() else { return Err(missing) };
    let here = |sha256: &Text| in_folder(config, &Wanted::Sha256(sha256.clone())).is_ok();
    match requests::keep(folder, wanted, here) {
        Ok(sha256) => in_folder(config, &Wanted::Sha256(sha256)),
        Err(said) if said.is_empty() => Err(missing),
        Err(said) => Err(Failure::new(Status::Failed, format!("{missing}; {}", said.join("; ")))),
    }
}

/// What is in the folder: of several the one that was kept last.
fn in_folder(config: &Config, wanted: &Wanted) -> Result<Found, Failure> {
    let missing = |what: String| Failure::new(Status::Failed, what);
    let Some(path) = config.evidence.folder.get() else {
        return Err(missing(
            "it isn't running, and the configuration says to keep nothing (evidence.folder)".to_owned(),
        ));
    };
    let failed = |error: io::Error| match denied(&error) {
        true => not_permitted(&error),
        false => missing(format!("looking into {}: {error}", path.display())),
    };
    match fs::symlink_metadata(path) {
        Err(error) if denied(&error) => return Err(failed(error)),
        Err(_) => {
            return Err(missing(format!(
                "nothing runs it, and nothing was kept: there is no {}",
                path.display()
            )));
        }
        Ok(_) if !nix::unistd::geteuid().is_root() => {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        Ok(_) => {}
    }
    let folder = Folder::open(path).map_err(|error| Failure::new(Status::Failed, error))?;
    let entries = folder.entries().map_err(failed)?;
    let last = entries.iter().filter(|entry| fits(entry, wanted)).max_by_key(|entry| entry.when);
    let sha256 = last.and_then(|entry| match &entry.name {
        Name::Image(sha256) => Some(sha256.clone()),
        Name::Runner(runner) => Some(runner.sha256.clone()),
        Name::Unfinished => None,
    });
    let Some(sha256) = sha256 else {
        return Err(missing(format!(
            "nothing runs it, and nothing of it was kept in {}: the sensor keeps what loses its name while it runs, or \
             has none when it is executed, as long as there is room (evidence.max_bytes, evidence.max_age_s)",
            path.display()
        )));
    };
    let file = folder.read(&sha256).map_err(failed)?;
    let from = folder.path_of(&sha256).display().to_string();
    Ok(Found { file, sha256: Some(sha256), from })
}

fn fits(entry: &Entry, wanted: &Wanted) -> bool {
    match (&entry.name, wanted) {
        (Name::Image(sha256), Wanted::Sha256(wanted)) => sha256 == wanted,
        (Name::Runner(runner), Wanted::Entity(entity)) => runner.entity == *entity,
        (Name::Runner(runner), Wanted::Pid(pid)) => runner.pid == *pid,
        _ => false,
    }
}

/// What a process runs now. Its entity id is made of its start in nanoseconds, which only the kernel's own list of tasks tells.
fn by_entity(host: &Host, reader: &Reader, entity: &Text) -> Result<Option<Found>, Failure> {
    let failed = |error| Failure::new(Status::Failed, error);
    let table = Table::new(host.boot_id.clone(), host.boot());
    awaiting(async {
        let mut kernel = lister(host).map_err(|gap| Failure::new(Status::NotPermitted, gap))?;
        let keys = look::keys(&mut kernel).map_err(failed)?;
        let Some(key) = keys.into_iter().find(|key| table.entity(*key) == *entity) else { return Ok(None) };
        let Ok(found) = running(reader, key.pid) else { return Ok(None) };
        // What was opened by this number may be of another process that has it since: one that still lives had it all the while.
        let lives = look::keys(&mut kernel).map_err(failed)?.contains(&key);
        Ok(lives.then_some(found))
    })?
}

/// What is running now and has this hash; else `missing`, with who wasn't looked at.
fn by_hash(reader: &mut Reader, most: u64, sha256: &Text, missing: Failure) -> Result<Found, Failure> {
    let (found, skipped) = search::find(reader, most, sha256).map_err(|error| {
        let what = format!("listing processes in {}: {error}", reader.root().display());
        Failure::new(Status::Failed, what)
    })?;
    let root = nix::unistd::geteuid().is_root();
    match (found, skipped.told(root)) {
        (Some(search::Running { file, pid }), _) => {
            let from = format!("the running process {pid}");
            Ok(Found { file, sha256: Some(sha256.clone()), from })
        }
        (None, None) => Err(missing),
        (None, Some(told)) => Err(unknown(&missing, &told, skipped.only_denied(root))),
    }
}

/// It may run all the same.
fn unknown(missing: &Failure, told: &str, denied: bool) -> Failure {
    let status = if denied { Status::NotPermitted } else { Status::Failed };
    let missing = missing.chain().replace("\n  because: ", ": ");
    Failure::new(status, format!("{missing}; of some that run it isn't known: {told}"))
}

/// Copies it to a file of its own, never through a link: one that is there isn't opened, but replaced as a whole, and only when that is
/// asked for. What can't be finished doesn't stay.
fn write(found: &Found, to: &Path, force: bool) -> Result<Digest, Failure> {
    let failed =
        |error: io::Error| Failure::new(Status::Failed, format!("writing {}: {error}", to.display()));
    if !force && to.symlink_metadata().is_ok() {
        let what =
            format!("{} is there already: give another, or --force to put it in its place", to.display());
        return Err(Failure::new(Status::Failed, what));
    }
    let place = match force {
        true => beside(to)
            .ok_or_else(|| Failure::new(Status::Usage, format!("{} names no file", to.display())))?,
        false => to.to_owned(),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(&place)
        .map_err(failed)?;
    let result = copied(found, &mut file).and_then(|written| match force {
        true => fs::rename(&place, to).map(|()| written),
        false => Ok(written),
    });
    result.map_err(|error| {
        // It is ours, and not whole.
        let _: io::Result<()> = fs::remove_file(&place);
        failed(error)
    })
}

fn copied(found: &Found, file: &mut File) -> io::Result<Digest> {
    let written = copy(&found.file, file, u64::MAX)?.ok_or_else(|| io::Error::other("it has no end"))?;
    file.sync_all()?;
    match &found.sha256 {
        Some(sha256) if *sha256 != written.sha256 => Err(io::Error::other(format!(
            "what was found has been changed: its SHA-256 is {}",
            written.sha256.to_str_lossy()
        ))),
        _ => Ok(written),
    }
}

/// A name in the same folder.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    Some(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn nothing_is_followed_or_overwritten() {
        let folder = std::env::temp_dir().join(format!("sensor-recover-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let source = folder.join("source");
        fs::write(&source, b"abc").unwrap();
        let found = |sha256| Found { file: File::open(&source).unwrap(), sha256, from: String::new() };
        let (precious, link, to) = (folder.join("precious"), folder.join("link"), folder.join("to"));
        fs::write(&precious, b"precious").unwrap();
        symlink(&precious, &link).unwrap();
        for there in [&precious, &link] {
            assert!(write(&found(None), there, false).is_err());
        }
        let written = write(&found(None), &to, false).unwrap();
        assert_eq!(written.size, 3);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o600);
        write(&found(None), &link, true).unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious", "the link is replaced, not followed");
        assert!(link.symlink_metadata().unwrap().is_file());
        let changed = folder.join("changed");
        assert!(write(&found(Some(Text::from("0".repeat(64)))), &changed, false).is_err());
        assert!(!changed.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
