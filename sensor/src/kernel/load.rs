//! Loads the programs, sets what they are told, attaches them.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, Map, PerCpuArray},
    programs::{
        BtfTracePoint, CgroupSkb, CgroupSock, CgroupSockAddr, FExit, Iter, Program, ProgramError,
        RawTracePoint, TracePoint,
    },
};
use zerocopy::IntoBytes;

use super::{
    Coverage, Gap, KernelError, Options, State,
    answers::answered,
    call,
    facts::Facts,
    links::Links,
    plan::{self, Attach, Hook, Outcome, STEAD, refusal},
    refusal::{BPF, PERFMON, errno, explain},
    ways::Ground,
};
use crate::config::Names;

/// The programs, built from `sensor-ebpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SENSOR_EBPF_OBJECT"));

/// Loads the object with its maps; no program runs yet.
///
/// `by`: how names that go will be seen, if at all.
pub(super) fn object(facts: &Facts, options: &Options, by: Option<Names>) -> Result<Ebpf, KernelError> {
    let mut ask = facts.ask;
    ask.fill_mark = options.bulk_ring_bytes / 4;
    ask.log = u32::from(options.log);
    ask.names = u32::from(by == Some(Names::Tracepoints));
    ask.inodes = u32::from(by == Some(Names::Fexit));
    EbpfLoader::new()
        .btf(None)
        .map_max_entries("BULK", options.bulk_ring_bytes)
        .map_max_entries("URGENT", options.urgent_ring_bytes)
        .load(answered(OBJECT, &ask).as_bytes())
        .map_err(|error| {
            // Where no program is taken at all, the loader takes the kernel for an older one, and fails at that.
            let probed = aya::sys::is_program_supported(aya::programs::ProgramType::TracePoint);
            let why = match probed {
                Err(refused) if errno(&error).is_none() => explain(&refused, &[BPF, PERFMON]),
                _ => explain(&error, &[BPF]),
            };
            KernelError::Refused { what: "the maps and programs", why }
        })
}

/// The kernel's types, as the loader wants them: read when they are wanted.
///
/// They take 14 MiB, and a loader reads them once more for itself, used or not. So they aren't held while one is
/// made: two of them are more than all that the sensor holds later.
#[derive(Default)]
pub(super) struct Types(Option<Btf>);

impl Types {
    fn read(&mut self) -> Result<&Btf, KernelError> {
        let read = || {
            Btf::from_sys_fs().map_err(|error| KernelError::Refused {
                what: "the kernel's types",
                why: explain(&error, &[]),
            })
        };
        Ok(match &mut self.0 {
            Some(types) => types,
            none => none.insert(read()?),
        })
    }

    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

/// Attaches those of the hooks that this kernel takes, and says what became of each.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    ground: &mut Ground<'_>,
    hooks: &'static [Hook],
) -> Result<Vec<Coverage>, KernelError> {
    let Ground { facts, types, links, options } = ground;
    let btf = types.read()?;
    let mut coverage = Vec::new();
    let wanted = |hook: &&'static Hook| {
        options.actions.is_none_or(|wanted| hook.actions.iter().any(|action| wanted.contains(action)))
    };
    for hook in hooks.iter().filter(wanted).filter(|hook| plan::is_needed(hook, facts)) {
        let (state, gap) = match refusal(hook, facts) {
            Some((State::Unseen, why)) if hook.must => {
                return Err(KernelError::Refused { what: hook.name, why });
            }
            Some((State::Unseen, why)) => (State::Unseen, why.effect(hook.without)),
            Some(outcome) => outcome,
            None => attach_hook(ebpf, btf, links, hook)?,
        };
        let row = |action: &&'static str| Coverage { action, hook: hook.name, state, gap: gap.clone() };
        coverage.extend(hook.actions.iter().map(row));
    }
    Ok(coverage)
}

fn attach_hook(
    ebpf: &mut Ebpf,
    btf: &Btf,
    links: &mut Links,
    hook: &'static Hook,
) -> Result<Outcome, KernelError> {
    for (name, attach) in hook.programs {
        if let Err(source) = attach_program(ebpf, btf, links, hook, (name, *attach)) {
            let why = explain(source.as_ref(), attach.needs());
            return match hook.must {
                true => Err(KernelError::Refused { what: hook.name, why }),
                false => Ok((State::Unseen, why.effect(hook.without))),
            };
        }
    }
    Ok((State::Seen, Gap::default()))
}

fn attach_program(
    ebpf: &mut Ebpf,
    btf: &Btf,
    links: &mut Links,
    hook: &'static Hook,
    (name, attach): (&str, Attach),
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
        Attach::Function(function) => {
            let program: &mut FExit = program.try_into()?;
            once(program.load(function, btf))?;
            program.attach()?;
        }
        // Attached anew for each reading.
        Attach::Tasks => once(<&mut Iter>::try_from(program)?.load("task", btf))?,
        Attach::Files => once(<&mut Iter>::try_from(program)?.load("task_file", btf))?,
        Attach::Sockets => once(<&mut Iter>::try_from(program)?.load("bpf_sk_storage_map", btf))?,
        // A link never replaces what others attached there.
        Attach::Sock(sort) => {
            let program: &mut CgroupSock = program.try_into()?;
            once(program.load())?;
            links.attach(hook, program.fd()?.as_fd(), sort)?;
        }
        Attach::SockAddr(sort) => {
            let program: &mut CgroupSockAddr = program.try_into()?;
            once(program.load())?;
            links.attach(hook, program.fd()?.as_fd(), sort)?;
        }
        Attach::Packets(sort) => {
            let program: &mut CgroupSkb = program.try_into()?;
            once(program.load())?;
            links.attach(hook, program.fd()?.as_fd(), sort)?;
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
/// Gives also where another program counts what it told when the kernel skipped the first: see `told_nested`.
pub(super) fn telling(ebpf: &Ebpf) -> impl Iterator<Item = (&'static str, RawFd, Option<u32>)> {
    plan::all().flat_map(|hook| hook.programs.iter().map(move |program| (hook, program))).filter_map(
        |(hook, (name, attach))| {
            let fd = ebpf.program(name)?.fd().ok()?;
            let is_stead = STEAD.iter().any(|(_, stead, _)| stead == name);
            if matches!(attach, Attach::Tasks | Attach::Files | Attach::Sockets) || is_stead {
                return None;
            }
            // Of a program that tells several events it can't be known which one it would have been.
            let own = hook.actions.iter().find(|action| **action == *name);
            let action = own.or(match hook.actions {
                [only] => Some(only),
                _ => None,
            });
            let action = action.map_or("unknown", |action| *action);
            let stead = STEAD.iter().find(|(of, ..)| of == name).map(|(.., place)| *place);
            Some((action, fd.as_fd().as_raw_fd(), stead))
        },
    )
}

/// How many changes were told by another program, as the first was under way, by the place where it counts them.
pub(super) fn told_nested(ebpf: &Ebpf, place: u32) -> u64 {
    let map = ebpf.map("NESTED").map(PerCpuArray::<_, u64>::try_from);
    let Some(Ok(map)) = map else { return 0 };
    map.get(&place, 0).map_or(0, |values| values.iter().sum())
}

/// Whether the kernel takes the processor from programs at tracepoints. Who is born tells it: a thread, for that.
pub(super) fn preempts(ebpf: &Ebpf) -> bool {
    // Without one it isn't known, and the second programs do no harm.
    let Ok(thread) = std::thread::Builder::new().name("born".to_owned()).spawn(|| ()) else { return true };
    let _ = thread.join();
    let noted = ebpf.map("PREEMPTED").map(Array::<_, u32>::try_from);
    noted.is_some_and(|noted| noted.is_ok_and(|noted| noted.get(&0, 0).is_ok_and(|noted| noted != 0)))
}

/// Maps that user space writes to as well, and rings, of which it writes how far it has read.
const WRITTEN: [&str; 10] =
    ["QUIET", "ENDED", "DATAGRAMS", "UNTAKEN", "ATTEMPTS", "DOUBTED", "URGENT", "BULK", "TRAFFIC", "SPILL"];

/// Lets nobody but the programs write to the other maps from now on, root neither: gives those of which the kernel
/// doesn't take that, and why.
fn freeze(ebpf: &Ebpf) -> Vec<(String, std::io::Error)> {
    let mut refused = Vec::new();
    for (name, map) in ebpf.maps() {
        let data = match map {
            Map::Array(data)
            | Map::PerCpuArray(data)
            | Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::SkStorage(data)
                // The loader froze what is read-only.
                if !WRITTEN.contains(&name) && !name.starts_with(".rodata") =>
            {
                data
            }
            _ => continue,
        };
        match call::freeze(data.fd().as_fd()) {
            Ok(()) => {}
            Err(error) => refused.push((name.to_owned(), error)),
        }
    }
    refused
}

/// Freezes the maps, and says what isn't.
pub(super) fn frozen(ebpf: &Ebpf) -> Option<Coverage> {
    let refused = freeze(ebpf);
    let (_, error) = refused.first()?;
    let names: Vec<_> = refused.iter().map(|(name, _)| name.as_str()).collect();
    let why = explain(error, &[BPF]);
    let reason = format!("the kernel refused to freeze the maps {}: {}", names.join(", "), why.reason);
    let effect = "that somebody with root changes what the programs remember";
    Some(Coverage::unseen("coverage", "self/maps", Gap { reason, ..why }.effect(effect)))
}

/// Takes every program out of the kernel; what is in the rings stays.
pub(super) fn detach(ebpf: &mut Ebpf) {
    for (_, program) in ebpf.programs_mut() {
        // A program that was refused was never loaded: nothing to take out.
        let _: Result<(), ProgramError> = match program {
            Program::BtfTracePoint(program) => program.unload(),
            Program::RawTracePoint(program) => program.unload(),
            Program::TracePoint(program) => program.unload(),
            Program::FExit(program) => program.unload(),
            Program::Iter(program) => program.unload(),
            Program::CgroupSkb(program) => program.unload(),
            Program::CgroupSock(program) => program.unload(),
            Program::CgroupSockAddr(program) => program.unload(),
            _ => Ok(()),
        };
    }
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
        let asked = plan::all().flat_map(|hook| hook.programs).filter(|(name, attach)| {
            matches!(attach, Attach::Tasks | Attach::Files | Attach::Sockets)
                || matches!(*name, "exit" | "exit_nested" | "fork" | "fork_nested")
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
