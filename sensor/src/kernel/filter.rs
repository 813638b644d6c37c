//! Rules of the firewall kept by programs at the root of the cgroups: each by links and a map of its own, pinned, so that
//! they stay when the command that made them has ended.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{fd::AsFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use aya::{
    maps::{Array, Map, MapData},
    programs::CgroupSkb,
};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::statfs,
};
pub use sensor_common::filter::{ALLOW_MOST, Filter, KEPT_MOST, Kept, Range};
use zerocopy::{FromBytes, IntoBytes};

use super::{KernelError, Options, call, facts::Facts, load};

/// Where the kernel's pins usually are (`bpffs`), and ours in it.
const BPFFS: &str = "/sys/fs/bpf";
const FOLDER: &str = "/sys/fs/bpf/sensor-port";
/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const MAGIC: i64 = 0xcafe_4a11;
/// What is attached to a cgroup (`enum bpf_attach_type`).
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;
/// A rule in words, as a map takes it.
const WORDS: usize = size_of::<Filter>() / 8;
type Words = [u64; WORDS];
/// The names of a rule's pins end so.
const MAP: &str = "_map";
const IN: &str = "_in";
const OUT: &str = "_out";
/// The smallest rings that the object takes; none of its other programs is loaded.
const OPTIONS: Options = Options {
    bulk_ring_bytes: 4096,
    urgent_ring_bytes: 4096,
    names: crate::config::Names::Fexit,
    hooks: None,
    log: false,
    executed: None,
    actions: Some(&[]),
};

/// Why a rule can't be kept so.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum FilterError {
    #[error("{0}")]
    Kernel(String),
    #[error("{what}: {source}")]
    Call { what: String, source: io::Error },
}

impl From<KernelError> for FilterError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error.gap().to_string())
    }
}

fn call<E: Into<io::Error>>(what: &str) -> impl Fn(E) -> FilterError {
    move |source| FilterError::Call { what: what.to_owned(), source: source.into() }
}

fn other(what: &str) -> impl Fn(&(dyn std::error::Error + 'static)) -> FilterError {
    move |error| {
        let why = super::refusal::explain(error, &[]);
        FilterError::Kernel(format!("{what}: {}", why.reason))
    }
}

/// Puts a rule in force, all of it or nothing: what arrives, and where all is closed what leaves too.
///
/// # Errors
/// When the kernel doesn't take it.
pub fn put(id: &str, filter: &Filter) -> Result<(), FilterError> {
    folder()?;
    let put = attach(id, filter);
    if put.is_err() {
        remove(id)?;
    }
    put
}

fn attach(id: &str, filter: &Filter) -> Result<(), FilterError> {
    let facts = Facts::gather()?;
    let cgroup = facts.cgroup.as_ref().map_err(|gap| FilterError::Kernel(gap.to_string()))?;
    let mut ebpf = load::object(&facts, &OPTIONS, None)?;
    let map =
        ebpf.map_mut("FILTER").ok_or_else(|| FilterError::Kernel("the object has no such map".to_owned()))?;
    write(map, filter)?;
    match map {
        Map::Array(data) => data.pin(at(id, MAP)).map_err(|error| other("pinning the rule")(&error))?,
        _ => return Err(FilterError::Kernel("the map is of another sort".to_owned())),
    }
    let both = [("filter_in", INGRESS, IN), ("filter_out", EGRESS, OUT)];
    // Nothing that leaves is kept back by a rule for a port.
    let wanted = if filter.port == 0 { &both[..] } else { &both[..1] };
    for (name, sort, end) in wanted {
        let program =
            ebpf.program_mut(name).ok_or_else(|| FilterError::Kernel(format!("no program {name}")))?;
        let program: &mut CgroupSkb =
            program.try_into().map_err(|error| other("taking the program")(&error))?;
        program.load().map_err(|error| other("loading the program")(&error))?;
        let program = program.fd().map_err(|error| other("loading the program")(&error))?;
        let link =
            call::link(program.as_fd(), cgroup.as_fd(), *sort).map_err(call("attaching the program"))?;
        call::pin(link.as_fd(), &at(id, end)).map_err(call("pinning its link"))?;
    }
    Ok(())
}

fn write(map: &mut Map, filter: &Filter) -> Result<(), FilterError> {
    let words = Words::read_from_bytes(filter.as_bytes())
        .map_err(|_| FilterError::Kernel("a rule's size".to_owned()))?;
    Array::<_, Words>::try_from(map)
        .and_then(|mut array| array.set(0, words, 0))
        .map_err(|error| other("telling the program the rule")(&error))
}

/// The rule that the programs keep; none where there is none.
///
/// # Errors
/// When it can't be read.
pub fn get(id: &str) -> Result<Option<Filter>, FilterError> {
    let path = at(id, MAP);
    if !path.exists() {
        return Ok(None);
    }
    let data = MapData::from_pin(path).map_err(|error| other("opening the rule")(&error))?;
    let map = Map::Array(data);
    let words = Array::<_, Words>::try_from(&map).and_then(|array| array.get(&0, 0));
    let words = words.map_err(|error| other("reading the rule")(&error))?;
    Ok(Filter::read_from_bytes(words.as_bytes()).ok())
}

/// Gives a rule another end.
///
/// # Errors
/// When it isn't there.
pub fn prolong(id: &str, until: u64) -> Result<(), FilterError> {
    let filter = get(id)?.ok_or_else(|| FilterError::Kernel("the rule isn't there".to_owned()))?;
    let data = MapData::from_pin(at(id, MAP)).map_err(|error| other("opening the rule")(&error))?;
    write(&mut Map::Array(data), &Filter { until, ..filter })
}

/// Takes a rule out.
///
/// # Errors
/// When it may still be there.
pub fn remove(id: &str) -> Result<(), FilterError> {
    for end in [IN, OUT, MAP] {
        match fs::remove_file(at(id, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(call("taking away a pin")(error));
            }
            _ => {}
        }
    }
    // Others may be in it.
    let _: io::Result<()> = fs::remove_dir(FOLDER);
    Ok(())
}

/// The rules that are pinned: the id of each, whether packets come to it, and what it says.
///
/// # Errors
/// When they can't be listed.
pub fn all() -> Result<Vec<(String, bool, Filter)>, FilterError> {
    let entries = match fs::read_dir(FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(call("listing pins"))?,
    };
    let mut rules = Vec::new();
    for entry in entries {
        let name = entry.map_err(call("listing pins"))?.file_name().to_string_lossy().into_owned();
        if let Some(id) = name.strip_suffix(MAP)
            && let Some(filter) = get(id)?
        {
            let attached = at(id, IN).exists() && (filter.port != 0 || at(id, OUT).exists());
            rules.push((id.to_owned(), attached, filter));
        }
    }
    Ok(rules)
}

fn at(id: &str, end: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{id}{end}"))
}

/// Makes the folder for pins, and mounts the file system for them where it isn't.
fn folder() -> Result<(), FilterError> {
    let is_there = || statfs(BPFFS).is_ok_and(|facts| facts.filesystem_type().0 == MAGIC);
    if !is_there() {
        mount(
            Some("bpf"),
            BPFFS,
            Some("bpf"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            Some("mode=700"),
        )
        .map_err(call("mounting the file system for pins, /sys/fs/bpf"))?;
    }
    match DirBuilder::new().mode(0o700).create(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(call("making a folder for pins")(error))
        }
        _ => Ok(()),
    }
}
