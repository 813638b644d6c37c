//! VirusTotal's API, version 3 (<https://docs.virustotal.com/reference/file-info>): what it knows of a hash, and no more than that is
//! ever sent. Certificates are always checked, and redirects never followed, since the key would go along.

use std::time::Duration;

use serde::Deserialize;

use super::{Answer, Verdict, World, pace::Pace};
use crate::{
    http::{self, Client, Trouble},
    record::Text,
    trusted::Key,
};

/// Its name in answers.
pub const NAME: &str = "virustotal";
/// Most bytes of an answer, and of an error.
const MOST: u64 = 8 * 1024 * 1024;
const MOST_ERROR: u64 = 64 * 1024;
/// Why it gave no answer, when time ran out.
const LATE: &str = "it didn't answer in time (lookup.timeout_s)";
/// Most characters of a label.
const LABEL: usize = 200;
/// How often it is asked again when it has trouble itself, and how long after, longer each time.
const TROUBLES: u32 = 2;
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// How long it is left alone when it says that it was asked too much, and not for how long.
const AFTER_TOO_MUCH: Duration = Duration::from_secs(15);

/// What it knows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Engines that call it malicious.
    pub malicious: u64,
    /// Engines that call it suspicious.
    pub suspicious: u64,
    /// Engines that judged it.
    pub engines: u64,
    /// When they did last, seconds since the epoch; 0 when that isn't said.
    pub analysed: u64,
    /// What they mostly call it; may be empty.
    pub label: String,
}

/// What it said to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    Known(Known),
    Unknown,
    /// It was asked too much.
    TooMuch(Option<Duration>),
    /// It has trouble itself.
    Trouble(String),
    /// It won't answer, or couldn't be reached; asking again is of no use.
    Failed(String),
}

/// The service.
#[derive(Debug)]
pub struct Service {
    client: Client,
    url: String,
    key: Key,
    patience: Duration,
}

impl Service {
    /// At this address. Each question may take `timeout`, and all that belong together `patience`, also waiting for their turn.
    #[must_use]
    pub fn new(url: &str, key: Key, timeout: Duration, patience: Duration) -> Self {
        Self {
            client: Client::new(url, None, timeout),
            url: url.trim_end_matches('/').to_owned(),
            key,
            patience,
        }
    }

    /// Asks, as often as it has to be, at the pace that is allowed; none: it doesn't know the file.
    ///
    /// # Errors
    /// Why there is no answer, in a sentence.
    pub fn ask(
        &self,
        sha256: &Text,
        pace: &mut Pace,
        world: &mut dyn World,
    ) -> Result<Option<Known>, String> {
        let end = world.now_ms().saturating_add(u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX));
        let mut troubles = 0;
        loop {
            self.wait_for_turn(end, pace, world)?;
            match self.question(sha256) {
                Reply::Known(known) => return Ok(Some(known)),
                Reply::Unknown => return Ok(None),
                Reply::Failed(why) => return Err(why),
                Reply::TooMuch(after) => {
                    let after = after.unwrap_or(AFTER_TOO_MUCH);
                    pace.leave_alone(world.now_ms(), after).map_err(|error| kept_not(&error))?;
                }
                Reply::Trouble(why) => {
                    troubles += 1;
                    if troubles > TROUBLES {
                        return Err(format!("{why}, asked {troubles} times"));
                    }
                    wait(AFTER_TROUBLE * troubles, end, world, &why)?;
                }
            }
        }
    }

    fn wait_for_turn(&self, end: u64, pace: &mut Pace, world: &mut dyn World) -> Result<(), String> {
        while let Some(left) = pace.turn(world.now_ms()).map_err(|error| kept_not(&error))? {
            wait(left, end, world, "it may not be asked more often")?;
        }
        Ok(())
    }

    fn question(&self, sha256: &Text) -> Reply {
        let url = format!("{}/files/{}", self.url, sha256.to_str_lossy());
        let headers = [("x-apikey", self.key.get()), ("accept", "application/json")];
        match self.client.get(&url, &headers) {
            Ok(answer) => understand(answer, sha256),
            Err(trouble) => Reply::Failed(unanswered(&trouble)),
        }
    }
}

/// Waits, unless that would be beyond the end.
fn wait(how_long: Duration, end: u64, world: &mut dyn World, why: &str) -> Result<(), String> {
    let left = Duration::from_millis(end.saturating_sub(world.now_ms()));
    if how_long > left {
        let seconds = how_long.as_secs_f64().ceil();
        return Err(format!("{why}: not before {seconds} s, longer than is waited (lookup.patience_s)"));
    }
    world.wait(how_long, why);
    Ok(())
}

fn kept_not(error: &std::io::Error) -> String {
    format!("how often it was asked can't be kept: {error}")
}

fn unanswered(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Late => LATE.to_owned(),
        Trouble::Certificate(why) => format!(
            "its certificate is refused ({why}), so the key wasn't sent: somebody may stand between, or check lookup.url; \
             only Mozilla's authorities count, not those of this host"
        ),
        Trouble::Broken(_) | Trouble::TooMuch(_) => {
            format!("its answer breaks off, or has more than {MOST} bytes")
        }
        Trouble::Garbled => "its answer isn't one of VirusTotal's API: check lookup.url".to_owned(),
        Trouble::Unreached(_) => trouble.to_string(),
    }
}

fn understand(mut answer: http::Answer, sha256: &Text) -> Reply {
    let status = answer.status;
    match status {
        200 => known(&mut answer, sha256),
        404 if error_code(&mut answer).as_deref() == Some("NotFoundError") => Reply::Unknown,
        404 => Reply::Failed("it doesn't answer as VirusTotal's API does (404): check lookup.url".to_owned()),
        401 | 403 => {
            let code = error_code(&mut answer).unwrap_or_else(|| status.to_string());
            Reply::Failed(format!("it refuses the key ({code}): check lookup.key_file"))
        }
        429 => Reply::TooMuch(answer.retry_after),
        500..=599 => Reply::Trouble(format!("it has trouble itself ({status})")),
        300..=399 => Reply::Failed(format!(
            "it sends us elsewhere ({status}), where the key isn't given to: check lookup.url"
        )),
        status => {
            let code = error_code(&mut answer).map(|code| format!(", {code}")).unwrap_or_default();
            Reply::Failed(format!("it answers with status {status}{code}"))
        }
    }
}

/// `{"error": {"code": …, "message": …}}`.
#[derive(Deserialize)]
struct Fault {
    error: FaultBody,
}

#[derive(Deserialize)]
struct FaultBody {
    code: String,
}

/// A word, or none.
fn error_code(answer: &mut http::Answer) -> Option<String> {
    let fault: Fault = answer.json(MOST_ERROR).ok()?;
    let code = fault.error.code;
    (code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(code)
}

#[derive(Deserialize)]
struct File {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    id: String,
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    last_analysis_stats: Option<Stats>,
    last_analysis_date: Option<u64>,
    popular_threat_classification: Option<Classification>,
}

#[derive(Deserialize)]
struct Classification {
    suggested_threat_label: Option<String>,
}

/// Engines by what they say; those that didn't come to an end, or don't judge such files, aren't counted.
#[derive(Deserialize)]
struct Stats {
    malicious: u32,
    suspicious: u32,
    undetected: u32,
    harmless: u32,
}

fn known(answer: &mut http::Answer, sha256: &Text) -> Reply {
    let file: File = match answer.json(MOST) {
        Ok(file) => file,
        Err(trouble) => return Reply::Failed(unanswered(&trouble)),
    };
    if !file.data.id.as_bytes().eq_ignore_ascii_case(sha256.as_bytes()) {
        return Reply::Failed("its answer is of another file".to_owned());
    }
    let Attributes { last_analysis_stats, last_analysis_date, popular_threat_classification } =
        file.data.attributes;
    let Some(Stats { malicious, suspicious, undetected, harmless }) = last_analysis_stats else {
        return Reply::Unknown;
    };
    let label =
        popular_threat_classification.and_then(|known| known.suggested_threat_label).unwrap_or_default();
    Reply::Known(Known {
        malicious: malicious.into(),
        suspicious: suspicious.into(),
        engines: [malicious, suspicious, undetected, harmless].map(u64::from).iter().sum(),
        analysed: last_analysis_date.unwrap_or(0),
        // It is kept in a line.
        label: label.chars().filter(|c| !c.is_control()).take(LABEL).collect(),
    })
}

/// What that comes to, when so many engines make a file malicious.
#[must_use]
pub fn answer(known: Option<&Known>, enough: u32, age_s: Option<u64>) -> Answer {
    let (verdict, detail, engines) = match known {
        None => (Verdict::Unknown, "VirusTotal doesn't know it".to_owned(), None),
        Some(Known { engines: 0, .. }) => {
            (Verdict::Unknown, "VirusTotal has it, and no engine has judged it".to_owned(), None)
        }
        Some(Known { malicious, suspicious, engines, label, .. }) => {
            let verdict = match (malicious, suspicious) {
                (malicious, _) if *malicious >= u64::from(enough) => Verdict::Malicious,
                (0, 0) => Verdict::Undetected,
                _ => Verdict::Suspicious,
            };
            let label = if label.is_empty() { String::new() } else { format!(", as {label}") };
            let doubts = match suspicious {
                0 => String::new(),
                suspicious => format!(", {suspicious} suspicious"),
            };
            let bound = match verdict {
                Verdict::Suspicious => format!("; from {enough} on it counts as malicious"),
                _ => String::new(),
            };
            let detail = format!("{malicious} of {engines} engines call it malicious{doubts}{label}{bound}");
            (verdict, detail, Some((*malicious, *engines)))
        }
    };
    Answer { source: NAME.to_owned(), verdict, detail, engines, age_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_engine_is_a_doubt_and_more_are_a_verdict() {
        let known = |malicious, suspicious, engines| Known {
            malicious,
            suspicious,
            engines,
            analysed: 0,
            label: "x".to_owned(),
        };
        let cases = [
            (known(0, 0, 70), Verdict::Undetected),
            (known(1, 0, 70), Verdict::Suspicious),
            (known(0, 1, 70), Verdict::Suspicious),
            (known(2, 0, 70), Verdict::Malicious),
            (known(0, 0, 0), Verdict::Unknown),
        ];
        for (known, verdict) in cases {
            assert_eq!(answer(Some(&known), 2, None).verdict, verdict, "{known:?}");
        }
        assert_eq!(answer(Some(&known(2, 0, 70)), 3, None).verdict, Verdict::Suspicious);
        assert_eq!(answer(None, 2, Some(5)).age_s, Some(5));
        let detail = answer(Some(&known(12, 1, 70)), 2, None).detail;
        assert_eq!(detail, "12 of 70 engines call it malicious, 1 suspicious, as x");
    }
}
