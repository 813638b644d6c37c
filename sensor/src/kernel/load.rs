//! Loads the programs, sets what they are told, attaches them.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::PerCpuArray,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSock, CgroupSockAddr, Iter, Program, ProgramError,
        RawTracePoint, TracePoint,
    },
};
use zerocopy::IntoBytes;

use super::{
    Coverage, KernelError, Options, State,
    facts::Facts,
    plan::{Attach, CALLS, HOOKS, Hook, NESTED, Outcome, refusal},
};

/// The programs, built from `sensor-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SENSOR_EBPF_OBJECT"));

/// Loads the object with its maps; no program runs yet.
///
/// `calls`: the hooks of the calls that take names will be attached.
pub(super) fn object(facts: &Facts, options: &Options, calls: bool) -> Result<Ebpf, KernelError> {
    let mut ask = facts.ask;
    ask.fill_mark = options.bulk_ring_bytes / 4;
    ask.log = u32::from(options.log);
    ask.names = u32::from(calls);
    EbpfLoader::new()
        .btf(None)
        .override_global("ASK", ask.as_bytes(), true)
        .map_max_entries("BULK", options.bulk_ring_bytes)
        .map_max_entries("URGENT", options.urgent_ring_bytes)
        .load(OBJECT)
        .map_err(|source| KernelError::Load { what: "the maps", source: Box::new(source) })
}

/// Attaches every hook that this kernel takes, and says what became of each.
///
/// `calls`: also those of the calls that take names.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    facts: &Facts,
    options: &Options,
    calls: bool,
) -> Result<Vec<Coverage>, KernelError> {
    let btf = Btf::from_sys_fs()
        .map_err(|source| KernelError::Load { what: "the kernel's types", source: Box::new(source) })?;
    let mut coverage = Vec::new();
    let wanted = |hook: &&Hook| {
        options.actions.is_none_or(|wanted| hook.actions.iter().any(|action| wanted.contains(action)))
    };
    for hook in HOOKS.iter().chain(CALLS.iter().filter(|_| calls)).filter(wanted) {
        let (state, reason, remedy) = match refusal(hook, facts) {
            Some(outcome) => outcome,
            None => attach_hook(ebpf, &btf, facts, hook)?,
        };
        let row = |action: &&'static str| Coverage::row(action, hook.name, state, reason.clone(), remedy);
        coverage.extend(hook.actions.iter().map(row));
    }
    Ok(coverage)
}

fn attach_hook(ebpf: &mut Ebpf, btf: &Btf, facts: &Facts, hook: &Hook) -> Result<Outcome, KernelError> {
    for (name, attach) in hook.programs {
        if let Err(source) = attach_program(ebpf, btf, facts, name, *attach) {
            if hook.must {
                return Err(KernelError::Load { what: hook.name, source });
            }
            let reason =
                format!("the kernel refused it: {}; not seen: {}", chain(source.as_ref()), hook.without);
            return Ok((State::Unseen, reason, "run `sensor run --kernel-log` and report its output"));
        }
    }
    Ok((State::Seen, String::new(), ""))
}

fn attach_program(
    ebpf: &mut Ebpf,
    btf: &Btf,
    facts: &Facts,
    name: &str,
    attach: Attach,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let program = ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
    match attach {
        Attach::Typed(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            once(program.load(tracepoint, btf))?;
            program.attach()?;
        }
        Attach::Raw(tracepoint) => {
            let program: &mut RawTracePoint = program.try_into()?;
            once(program.load())?;
            program.attach(tracepoint)?;
        }
        Attach::Syscall(tracepoint) => {
            let program: &mut TracePoint = program.try_into()?;
            once(program.load())?;
            program.attach("syscalls", tracepoint)?;
        }
        // Attached anew for each reading.
        Attach::Tasks => once(<&mut Iter>::try_from(program)?.load("task", btf))?,
        Attach::Files => once(<&mut Iter>::try_from(program)?.load("task_file", btf))?,
        Attach::Sockets => once(<&mut Iter>::try_from(program)?.load("bpf_sk_storage_map", btf))?,
        // A link never replaces what others attached there, whatever the mode.
        Attach::Sock => {
            let program: &mut CgroupSock = program.try_into()?;
            once(program.load())?;
            program.attach(facts.cgroup()?, CgroupAttachMode::Single)?;
        }
        Attach::SockAddr => {
            let program: &mut CgroupSockAddr = program.try_into()?;
            once(program.load())?;
            program.attach(facts.cgroup()?, CgroupAttachMode::Single)?;
        }
        Attach::Packets(direction) => {
            let program: &mut CgroupSkb = program.try_into()?;
            once(program.load())?;
            program.attach(facts.cgroup()?, direction, CgroupAttachMode::Single)?;
        }
    }
    Ok(())
}

/// A program that serves two hooks is loaded by the first.
fn once(result: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match result {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        other => other,
    }
}

/// The programs that are in the kernel and tell of an event, by themselves and not when asked.
///
/// Gives also whether another program tells what the kernel skips: see `told_nested`.
pub(super) fn telling(ebpf: &Ebpf) -> impl Iterator<Item = (&'static str, RawFd, bool)> {
    HOOKS
        .iter()
        .chain(CALLS)
        .flat_map(|hook| hook.programs.iter().map(move |program| (hook, program)))
        .filter_map(|(hook, (name, attach))| {
            let fd = ebpf.program(name)?.fd().ok()?;
            if matches!(attach, Attach::Tasks | Attach::Files | Attach::Sockets) || *name == NESTED {
                return None;
            }
            // Of a program that tells several events it can't be known which one it would have been.
            let own = hook.actions.iter().find(|action| **action == *name);
            let action = own.or(match hook.actions {
                [only] => Some(only),
                _ => None,
            });
            let action = action.map_or("unknown", |action| *action);
            Some((action, fd.as_fd().as_raw_fd(), *name == "socket_state"))
        })
}

/// How many changes of sockets were told by another program, as the first was under way.
pub(super) fn told_nested(ebpf: &Ebpf) -> u64 {
    let map = ebpf.map("NESTED").map(PerCpuArray::<_, u64>::try_from);
    let Some(Ok(map)) = map else { return 0 };
    map.get(&0, 0).map_or(0, |values| values.iter().sum())
}

/// Takes every program out of the kernel; what is in the rings stays.
pub(super) fn detach(ebpf: &mut Ebpf) {
    for (_, program) in ebpf.programs_mut() {
        // A program that was refused was never loaded: nothing to take out.
        let _: Result<(), ProgramError> = match program {
            Program::BtfTracePoint(program) => program.unload(),
            Program::RawTracePoint(program) => program.unload(),
            Program::TracePoint(program) => program.unload(),
            Program::Iter(program) => program.unload(),
            Program::CgroupSkb(program) => program.unload(),
            Program::CgroupSock(program) => program.unload(),
            Program::CgroupSockAddr(program) => program.unload(),
            _ => Ok(()),
        };
    }
}

/// An error with all its causes, as one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call of another function of the object (`BPF_PSEUDO_CALL`, `include/uapi/linux/bpf.h`), before it is relocated.
    fn calls(program: &aya_obj::Function) -> usize {
        let call = |one: &&aya_obj::generated::bpf_insn| one.code == 0x85 && one.src_reg() == 1;
        program.instructions.iter().filter(call).count()
    }

    #[test]
    fn iterators_and_ends_and_births_call_nothing() {
        let object = aya_obj::Object::parse(OBJECT).unwrap();
        let asked = HOOKS.iter().flat_map(|hook| hook.programs).filter(|(name, attach)| {
            matches!(attach, Attach::Tasks | Attach::Files | Attach::Sockets)
                || matches!(*name, "exit" | "fork")
        });
        let mut found = 0;
        for (name, _) in asked {
            let key = object.programs[*name].function_key();
            assert_eq!(calls(&object.functions[&key]), 0, "{name}: a fault in it would stop older kernels");
            found += 1;
        }
        assert!(found >= 6, "{found}");
    }
}
