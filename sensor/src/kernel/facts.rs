//! What this kernel is and has: asked, never guessed from its version.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, openat},
    mount::{MsFlags, mount},
    sys::stat::Mode,
};
use sensor_common::ask::{ABSENT, Ask, Calls, Functions, Need, Offsets, Row, URING_PLACES};

use super::{
    Gap, KernelError,
    btf::{self, Btf},
    call,
    plan::{self, Attach},
    refusal::{self, SYS_ADMIN},
};

/// Type information of the running kernel.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Where tracefs is mounted, newest first (`Documentation/trace/ftrace.rst`).
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The answers.
pub(super) struct Facts {
    /// What the programs are told.
    pub(super) ask: Ask,
    /// Members that this kernel lacks and the sensor can do without.
    pub(super) missing: Vec<&'static Row>,
    /// What a program would hang on and this kernel doesn't have.
    pub(super) absent: HashSet<String>,
    /// Where tracefs is, or why not; asked for where it is needed (`find_tracefs`).
    pub(super) tracefs: Result<PathBuf, Gap>,
    /// The root of the cgroups of version 2, or why not.
    pub(super) cgroup: Result<OwnedFd, Gap>,
}

impl Attach {
    /// The part of the kernel that it hangs on, as type information names it: a tracepoint's arguments, or the
    /// function that an iterator is described by, or that is traced.
    pub(super) fn place(self) -> Option<String> {
        match self {
            Self::Typed(tracepoint) | Self::Raw(tracepoint) => Some(format!("tracepoint {tracepoint}")),
            Self::Tasks => Some("bpf_iter_task".to_owned()),
            Self::Files => Some("bpf_iter_task_file".to_owned()),
            Self::Sockets => Some("bpf_iter_bpf_sk_storage_map".to_owned()),
            Self::Function(function) => Some(function.to_owned()),
            Self::Syscall(_) | Self::Sock(_) | Self::SockAddr(_) | Self::Packets(_) => None,
        }
    }
}

impl Facts {
    /// Asks the kernel.
    pub(super) fn gather() -> Result<Self, KernelError> {
        if locked_down_to_secrecy() {
            return Err(KernelError::LockedDown);
        }
        let bytes = fs::read(BTF).map_err(|source| KernelError::NoBtf { path: BTF, source })?;
        let btf = Btf::parse(&bytes).map_err(|source| KernelError::BadBtf { path: BTF, source })?;
        let (ask, missing) = answers(&btf)?;
        let cgroup = call::cgroup_root().map_err(|error| {
            let why = refusal::explain(&error, &[SYS_ADMIN]);
            let reason = format!("there is no root of cgroups of version 2: {}", why.reason);
            match why.missing.is_empty() {
                true => Gap {
                    reason,
                    missing: "cgroup2".to_owned(),
                    remedy: "a kernel with CONFIG_CGROUPS and CONFIG_CGROUP_BPF".to_owned(),
                    ..Gap::default()
                },
                false => Gap { reason, ..why },
            }
        });
        Ok(Self { ask, missing, absent: absent(&btf), tracefs: Err(Gap::default()), cgroup })
    }

    /// Finds tracefs, which the tracepoints of calls need, or mounts it.
    pub(super) fn find_tracefs(&mut self) {
        self.tracefs = tracefs();
    }

    /// Whether the kernel has a perf tracepoint.
    pub(super) fn has_tracepoint(&self, category: &str, name: &str) -> bool {
        self.tracefs.as_ref().is_ok_and(|root| root.join("events").join(category).join(name).is_dir())
    }
}

/// Offsets and positions from the kernel's type information.
fn answers(btf: &Btf<'_>) -> Result<(Ask, Vec<&'static Row>), KernelError> {
    let (offsets, missing) =
        Offsets::fill(|strukt, path| btf.offset(strukt, path).map(|member| member.offset));
    let missing: Vec<_> = missing.filter(|row| row.need != Need::With).collect();
    let must: Vec<_> = missing.iter().filter(|row| row.need == Need::Must).map(|row| row.name).collect();
    if !must.is_empty() {
        return Err(KernelError::Unknown { members: must.join(", ") });
    }
    let position = |tracepoint: &str, wanted: &str| {
        btf.trace_params(tracepoint)
            .and_then(|params| params.iter().position(|param| param.type_name == wanted))
            .and_then(|at| u32::try_from(at).ok())
            .unwrap_or(ABSENT)
    };
    let bit = |strukt: &str, path: &str| btf.offset(strukt, path).map_or(0, |member| member.bit_offset);
    // Until 5.19 the request itself is given without its type, and beside it the work that is a part of it.
    let queued = |wanted| {
        let at = position("io_uring_queue_async_work", wanted);
        if URING_PLACES.contains(&at) { at } else { ABSENT }
    };
    let (uring_request, uring_into) = match (queued("io_kiocb"), btf.offset("io_kiocb", "work")) {
        (ABSENT, Some(work)) => (queued("io_wq_work"), work.offset),
        (request, _) => (request, 0),
    };
    let ask = Ask {
        offsets,
        upid_size: btf.size_of_struct("upid").unwrap_or(16),
        own_pid: std::process::id(),
        exit_group_dead: position("sched_process_exit", "bool"),
        uring_request,
        uring_into,
        v6only_bit: bit("sock", "__sk_common.skc_ipv6only"),
        kernel_bit: bit("sock", "sk_kern_sock"),
        mptcp_bit: bit("tcp_sock", "is_mptcp"),
        asks_join_bit: bit("mptcp_subflow_context", "request_join"),
        joined_bit: bit("mptcp_subflow_context", "mp_join"),
        functions: functions(btf),
        calls: calls(btf),
        ..Ask::EMPTY
    };
    Ok((ask, missing))
}

/// The functions that programs call: both of them or none.
fn calls(btf: &Btf<'_>) -> Calls {
    match (btf.function("bpf_preempt_disable"), btf.function("bpf_preempt_enable")) {
        (Some(preempt_disable), Some(preempt_enable)) => Calls { preempt_disable, preempt_enable },
        _ => Calls::ABSENT,
    }
}

/// Where the functions that programs hang on are given what: their arguments moved and were gathered in a structure, and
/// moved in that.
fn functions(btf: &Btf<'_>) -> Functions {
    let params = |function| btf.params(function).unwrap_or_default();
    let place = |at: usize| u32::try_from(at * 8).unwrap_or(ABSENT);
    let (unlink, rename) = (params("vfs_unlink"), params("vfs_rename"));
    let nth = |params: &[btf::Param], wanted: &str, nth| {
        let mut found = params.iter().enumerate().filter(|(_, param)| param.type_name == wanted);
        found.nth(nth).map_or(ABSENT, |(at, _)| place(at))
    };
    let member = |path| btf.offset("renamedata", path).map_or(ABSENT, |member| member.offset);
    let rename_data = nth(&rename, "renamedata", 0);
    let [rename_old, rename_new] = match rename_data {
        ABSENT => [0, 1].map(|entry| nth(&rename, "dentry", entry)),
        _ => ["old_dentry", "new_dentry"].map(member),
    };
    Functions {
        unlink_dentry: nth(&unlink, "dentry", 0),
        unlink_result: place(unlink.len()),
        rename_data,
        rename_old,
        rename_new,
        rename_result: place(rename.len()),
        accept_result: btf.params("inet_csk_accept").map_or(ABSENT, |params| place(params.len())),
    }
}

/// Whether the kernel lets no program read its memory (`kernel_lockdown(7)`). Some kernels then refuse to load
/// such programs, others let them run and read nothing.
fn locked_down_to_secrecy() -> bool {
    let read = || {
        let root = call::security_root().ok()?;
        let file = openat(&root, "lockdown", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).ok()?;
        Some(text)
    };
    // A kernel without this file can't be locked down.
    read().is_some_and(|text| is_secrecy(&text))
}

/// The mode in force stands in brackets.
fn is_secrecy(lockdown: &str) -> bool {
    lockdown.contains("[confidentiality]")
}

/// What the programs would hang on and this kernel doesn't have.
fn absent(btf: &Btf<'_>) -> HashSet<String> {
    let attaches = plan::all().flat_map(|hook| hook.programs).map(|(_, attach)| attach);
    let places = attaches.filter_map(|attach| attach.place());
    let there = |place: &String| match place.strip_prefix("tracepoint ") {
        Some(tracepoint) => btf.trace_params(tracepoint).is_some(),
        None => btf.params(place).is_some(),
    };
    places.filter(|place| !there(place)).collect()
}

/// Finds tracefs, or mounts it where the kernel wants it: perf tracepoints have their ids there.
fn tracefs() -> Result<PathBuf, Gap> {
    if let Some(found) = TRACEFS.into_iter().find(|root| Path::new(root).join("events").is_dir()) {
        return Ok(found.into());
    }
    let [root, _] = TRACEFS;
    mount(
        Some("tracefs"),
        root,
        Some("tracefs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
    .map(|()| root.into())
    .map_err(|error| Gap {
        reason: format!(
            "tracefs is not mounted, and mounting it on {root} failed: {}",
            refusal::explain(&error, &[SYS_ADMIN]).reason
        ),
        missing: "tracefs".to_owned(),
        remedy: format!("mount -t tracefs tracefs {root}"),
        ..Gap::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_functions_are_given_what_is_known_of_this_kernel() {
        let Ok(bytes) = fs::read(BTF) else { return };
        let Functions {
            unlink_dentry,
            unlink_result,
            rename_data,
            rename_old,
            rename_new,
            rename_result,
            accept_result,
        } = functions(&Btf::parse(&bytes).unwrap());
        assert!((16..48).contains(&accept_result), "{accept_result}");
        assert!(unlink_dentry < unlink_result && unlink_result < 48, "{unlink_dentry} {unlink_result}");
        assert!(rename_old < rename_new && rename_new != ABSENT, "{rename_old} {rename_new}");
        assert!(rename_data == ABSENT && rename_new < rename_result || rename_data < rename_result);
    }

    #[test]
    fn the_mode_in_brackets_counts() {
        assert!(is_secrecy("none integrity [confidentiality]\n"));
        assert!(!is_secrecy("none [integrity] confidentiality\n"));
        assert!(!is_secrecy("[none] integrity confidentiality\n"));
    }
}
