//! A load that isn't taken as a whole goes in parts, so that one bad event doesn't condemn others.

use super::{FarError, Fate, Parcel};

/// Most questions for one load. What isn't decided by then comes again; the first of a load always is.
const QUESTIONS: usize = 64;
/// Most letters of what the far side says.
const WORDS: usize = 300;

/// What became of a part of a load.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Of so many of the first ones, at least one, this; the others are still to go.
    Known(Vec<Fate>),
    /// Of none; those before this one go by themselves.
    Before(usize),
    /// Of none: it is too much, or something in it is bad, in these words.
    Halve(String),
}

/// Brings a load part by part, in order.
pub(crate) fn bring(
    load: &[Parcel<'_>],
    mut send: impl FnMut(&[Parcel<'_>]) -> Result<Sent, FarError>,
) -> Result<Vec<Fate>, FarError> {
    let mut fates = Vec::with_capacity(load.len());
    // Where the parts that are still to go end, the next one last.
    let mut ends = vec![load.len()];
    for _ in 0..QUESTIONS {
        let Some(end) = ends.last().copied() else { break };
        let Some(part) = load.get(fates.len()..end).filter(|part| !part.is_empty()) else {
            ends.pop();
            continue;
        };
        match send(part) {
            Ok(Sent::Known(mut known)) => {
                known.truncate(part.len());
                fates.append(&mut known);
            }
            Ok(Sent::Halve(why)) if part.len() == 1 => fates.push(Fate::Refused(why)),
            Ok(Sent::Halve(_)) => ends.push(fates.len() + part.len() / 2),
            Ok(Sent::Before(at)) => ends.push(fates.len() + at.clamp(1, part.len())),
            Err(error) if fates.is_empty() => return Err(error),
            // What is known is known; the next load begins with what isn't, and has the error.
            Err(_) => break,
        }
    }
    fates.resize(load.len(), Fate::Again);
    Ok(fates)
}

/// Brings those of a load that fit the far side at all, and says of the others why they don't.
pub(crate) fn fitting(
    load: &[Parcel<'_>],
    unfit: impl Fn(&Parcel<'_>) -> Option<&'static str>,
    bring: impl FnOnce(&[Parcel<'_>]) -> Result<Vec<Fate>, FarError>,
) -> Result<Vec<Fate>, FarError> {
    let faults: Vec<_> = load.iter().map(unfit).collect();
    if faults.iter().all(Option::is_none) {
        return bring(load);
    }
    let fit = load.iter().zip(&faults).filter(|(_, fault)| fault.is_none()).map(|(parcel, _)| *parcel);
    let fit: Vec<_> = fit.collect();
    let mut known = if fit.is_empty() { Vec::new() } else { bring(&fit)? }.into_iter();
    let fate = |fault: Option<&str>| match fault {
        Some(fault) => Fate::Refused(fault.to_owned()),
        None => known.next().unwrap_or(Fate::Again),
    };
    Ok(faults.into_iter().map(fate).collect())
}

/// The beginning of what the far side says.
pub(crate) fn short(words: &str) -> String {
    words.trim().chars().take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcels(ids: &[&'static str]) -> Vec<Parcel<'static>> {
        let parcel = |id: &&'static str| Parcel {
            id,
            time: 0,
            action: "",
            severity: 0,
            host: "h",
            bytes: id.as_bytes(),
        };
        ids.iter().map(parcel).collect()
    }

    fn failed() -> FarError {
        FarError { attempted: String::new(), advice: "", not_before: None, source: "x".into() }
    }

    #[test]
    fn one_bad_event_condemns_no_other() {
        let ids = ["a", "b", "c", "bad", "d", "e", "f"];
        let mut taken = Vec::new();
        let fates = bring(&parcels(&ids), |part| {
            if part.iter().any(|parcel| parcel.id == "bad") {
                return Ok(Sent::Halve("no".to_owned()));
            }
            taken.extend(part.iter().map(|parcel| parcel.id.to_owned()));
            Ok(Sent::Known(vec![Fate::Arrived; part.len()]))
        });
        let mut wanted = vec![Fate::Arrived; 7];
        wanted[3] = Fate::Refused("no".to_owned());
        assert_eq!(fates.unwrap(), wanted);
        assert_eq!(taken, ["a", "b", "c", "d", "e", "f"], "in order, each once");
    }

    #[test]
    fn what_is_known_stays_known() {
        let mut asked = 0;
        let fates = bring(&parcels(&["a", "b", "c", "d"]), |part| {
            asked += 1;
            match asked {
                1 => Ok(Sent::Halve(String::new())),
                2 => Ok(Sent::Known(vec![Fate::Arrived; part.len()])),
                _ => Err(failed()),
            }
        });
        let wanted = [Fate::Arrived, Fate::Arrived, Fate::Again, Fate::Again];
        assert_eq!(fates.unwrap(), wanted);
        assert!(bring(&parcels(&["a"]), |_| Err(failed())).is_err());
        assert_eq!(bring(&[], |_| Err(failed())).unwrap(), []);
    }

    #[test]
    fn a_far_side_that_refuses_everything_gets_so_many_questions() {
        let ids = vec!["x"; 10_000];
        let mut asked = 0;
        let fates = bring(&parcels(&ids), |_| {
            asked += 1;
            Ok(Sent::Halve("no".to_owned()))
        });
        let fates = fates.unwrap();
        assert_eq!((asked <= QUESTIONS, fates.len()), (true, 10_000));
        assert_eq!(fates[0], Fate::Refused("no".to_owned()), "it goes on");
    }

    #[test]
    fn parts_that_end_where_they_are_told_to() {
        let mut parts = Vec::new();
        let fates = bring(&parcels(&["a", "b", "c", "d"]), |part| {
            parts.push(part.len());
            match parts.len() {
                1 => Ok(Sent::Before(3)),
                2 => Ok(Sent::Known(vec![Fate::Arrived; 3])),
                _ => Ok(Sent::Known(vec![Fate::Refused(String::new()); 9])),
            }
        });
        assert_eq!((parts, fates.unwrap().len()), (vec![4, 3, 1], 4));
    }

    #[test]
    fn what_doesnt_fit_isnt_sent() {
        let load = parcels(&["a", "bad", "b"]);
        let unfit = |parcel: &Parcel<'_>| (parcel.id == "bad").then_some("no");
        let fates = fitting(&load, unfit, |fit| Ok(vec![Fate::Arrived; fit.len()]));
        assert_eq!(fates.unwrap(), [Fate::Arrived, Fate::Refused("no".to_owned()), Fate::Arrived]);
        assert!(fitting(&load[1..2], unfit, |_| Err(failed())).is_ok(), "nothing to send");
    }
}
