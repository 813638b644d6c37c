//! By which way names that go are seen: each is really tried, the best first, and the first that works serves.

use aya::Ebpf;

use super::{
    Coverage, Gap, Hooks, KernelError, Options, State,
    facts::Facts,
    links::Links,
    load,
    names::{self, Names},
    plan::{Hook, SOONER, WAYS, Way},
};
use crate::config;

/// The event that they serve.
const SERVES: &str = "exe_deleted";

/// The object, loaded for the way that serves, with that way's hooks attached.
pub(super) struct Chosen {
    pub(super) ebpf: Ebpf,
    pub(super) names: Option<Names>,
    /// The hooks tell which file lost which name, at once and by whom.
    pub(super) exact: bool,
    /// What became of each way.
    pub(super) rows: Vec<Coverage>,
}

/// Where the hooks are, what they are told, and where they go.
pub(super) struct Ground<'a> {
    pub(super) facts: &'a mut Facts,
    pub(super) types: load::Types,
    pub(super) links: &'a mut Links,
    pub(super) options: &'a Options,
}

/// Tries one after the other, from the one on with which the options begin.
pub(super) fn choose(ground: &mut Ground<'_>) -> Result<Chosen, KernelError> {
    let options = ground.options;
    let mut rows = Vec::new();
    if options.actions.is_none() {
        let first = first(options);
        rows.extend(WAYS.iter().take_while(|way| way.by != first).flat_map(|way| left_out(way, options)));
        for way in WAYS.iter().skip_while(|way| way.by != first) {
            match attempt(way, ground)? {
                Ok(mut chosen) => {
                    chosen.rows.append(&mut rows);
                    return Ok(chosen);
                }
                Err(refused) => rows.extend(passed_over(way, options, refused)?),
            }
        }
    }
    let ebpf = object(ground, None)?;
    Ok(Chosen { ebpf, names: None, exact: false, rows })
}

/// The way that is tried first.
fn first(options: &Options) -> config::Names {
    match (options.hooks, options.names) {
        (Some(Hooks::Base), config::Names::Fexit) => config::Names::Fanotify,
        (_, names) => names,
    }
}

/// Tries a way; gives what was refused.
fn attempt(way: &Way, ground: &mut Ground<'_>) -> Result<Result<Chosen, Vec<Coverage>>, KernelError> {
    let names = match way.by {
        config::Names::Fexit => None,
        config::Names::Fanotify => match Names::open() {
            Ok(names) => Some(names),
            Err(gap) => return Ok(Err(vec![Coverage::unseen(SERVES, names::HOOK, gap)])),
        },
        config::Names::Tracepoints => {
            ground.facts.find_tracefs();
            None
        }
    };
    let mut ebpf = object(ground, Some(way.by))?;
    let mut rows = load::attach(&mut ebpf, ground, way.hooks)?;
    let exact = way.by == config::Names::Fexit;
    if exact && rows.iter().any(|row| row.state != State::Seen) {
        rows.retain(|row| row.state != State::Seen);
        return Ok(Err(rows));
    }
    rows.extend(names.is_some().then(|| Coverage::seen(SERVES, names::HOOK)));
    Ok(Ok(Chosen { ebpf, names, exact, rows }))
}

fn object(ground: &mut Ground<'_>, by: Option<config::Names>) -> Result<Ebpf, KernelError> {
    ground.types.forget();
    load::object(ground.facts, ground.options, by)
}

/// What a way means that was refused.
fn passed_over(way: &Way, options: &Options, refused: Vec<Coverage>) -> Result<Vec<Coverage>, KernelError> {
    if let (Some(Hooks::Best), Some(row)) = (options.hooks, refused.first()) {
        return Err(KernelError::Demanded { what: row.hook, why: row.gap.clone() });
    }
    let row = |row: Coverage| Coverage { state: way.refused, gap: row.gap.effect(way.without), ..row };
    Ok(refused.into_iter().map(row).collect())
}

/// Attaches what tells sooner than the hooks that every kernel takes, and says what became of it.
pub(super) fn sooner(ebpf: &mut Ebpf, ground: &mut Ground<'_>) -> Result<Vec<Coverage>, KernelError> {
    let hooks = ground.options.hooks;
    if ground.options.actions.is_some() {
        return Ok(Vec::new());
    }
    if hooks == Some(Hooks::Base) {
        let gap = |hook: &Hook| Gap { reason: STARTED_SO.to_owned(), ..Gap::default() }.effect(hook.without);
        let row = |hook: &'static Hook, action| Coverage {
            action,
            hook: hook.name,
            state: State::Off,
            gap: gap(hook),
        };
        return Ok(SOONER
            .iter()
            .flat_map(|hook| hook.actions.iter().map(move |action| row(hook, action)))
            .collect());
    }
    let rows = load::attach(ebpf, ground, SOONER)?;
    let told = |row: Coverage| match (row.state, hooks) {
        (State::Seen, _) => Ok(row),
        (_, Some(Hooks::Best)) => Err(KernelError::Demanded { what: row.hook, why: row.gap }),
        _ => Ok(Coverage { state: State::Fallback, ..row }),
    };
    rows.into_iter().map(told).collect()
}

/// Why what `--hooks base` leaves out isn't there.
const STARTED_SO: &str = "it was started so (--hooks base)";

/// Rows of a way that isn't tried, because somebody said so.
fn left_out(way: &Way, options: &Options) -> Vec<Coverage> {
    let reason = match options.names {
        config::Names::Fexit => STARTED_SO,
        _ => "the configuration says so (kernel.names)",
    };
    let gap = Gap { reason: reason.to_owned(), ..Gap::default() }.effect(way.without);
    let hooks = if way.hooks.is_empty() {
        vec![names::HOOK]
    } else {
        way.hooks.iter().map(|hook| hook.name).collect()
    };
    let row = |hook| Coverage { action: SERVES, hook, state: State::Off, gap: gap.clone() };
    hooks.into_iter().map(row).collect()
}
