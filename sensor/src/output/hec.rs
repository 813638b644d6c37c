//! Splunk's HTTP event collector: events in batches, its codes, and, where that is asked for, the word of an indexer that they are
//! indexed.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io::Write,
    thread,
    time::Duration,
};

use serde::Deserialize;

use super::{ByHttp, Courier, FarError, Fate, Parcel, Said, Sent, Sort, Who, short};
use crate::{config, format::json_string, http::parse};

/// How long after the first question whether something is indexed the next comes, longer each time.
const ASKED_AGAIN: Duration = Duration::from_millis(100);
const ASKED_LATEST: Duration = Duration::from_secs(2);

/// The output.
#[derive(Debug)]
pub struct Hec {
    courier: Courier,
    settings: config::Hec,
    /// Whose acknowledgements are asked for: any name that nobody else has.
    channel: String,
}

impl Hec {
    /// With these settings.
    #[must_use]
    pub fn new(settings: &config::Hec) -> Self {
        let who = Who::Token("Splunk", settings.token_file.clone());
        let courier = Courier::new(settings.over_http(), who, "application/json");
        Self { courier, settings: settings.clone(), channel: channel() }
    }

    fn ask(&mut self, path: &str, body: Vec<u8>, events: usize) -> Result<Said, FarError> {
        let channel = [("x-splunk-request-channel", self.channel.as_str())];
        let headers: &[_] = if self.settings.acknowledge { &channel } else { &[] };
        self.courier.bring(path, headers, body, events)
    }

    /// One event is bad, and those before it are in.
    fn refused(&self, events: usize, reply: &Reply) -> Sent {
        let why =
            short(&format!("code {}: {}", reply.code.unwrap_or(-1), reply.text.as_deref().unwrap_or("")));
        match reply.invalid {
            Some(bad) if bad < events && (bad == 0 || !self.settings.acknowledge) => {
                let mut fates = vec![Fate::Arrived; bad];
                fates.push(Fate::Refused(why));
                Sent::Known(fates)
            }
            // They are in, yet nobody said that they are indexed: again, by themselves.
            Some(bad) if bad < events => Sent::Before(bad),
            _ => Sent::Halve(why),
        }
    }

    /// Waits until an indexer has them.
    fn indexed(&mut self, events: usize, ack_id: Option<u64>) -> Result<Sent, FarError> {
        let arrived = Ok(Sent::Known(vec![Fate::Arrived; events]));
        if !self.settings.acknowledge {
            return arrived;
        }
        let Some(id) = ack_id else {
            let advice = "it acknowledges nothing: enable acknowledgement (useACK) for the token, or leave out acknowledge";
            return Err(self.courier.error(events, advice, None, "no ackId"));
        };
        let (mut waited, mut pause) = (Duration::ZERO, ASKED_AGAIN);
        while waited < self.courier.timeout() {
            let question = format!("{{\"acks\":[{id}]}}").into_bytes();
            let said = self.ask("/services/collector/ack", question, events)?;
            match (said.sort(), parse::<Acks>(&said.body)) {
                (Sort::Taken, Ok(Acks { acks })) if acks.get(&id.to_string()) == Some(&true) => {
                    return arrived;
                }
                (Sort::Taken, Ok(_)) | (Sort::Later, _) => {}
                (Sort::Taken, Err(_)) => return Err(self.courier.garbled(events)),
                (sort, _) => return Err(self.courier.unsent(events, &said, sort)),
            }
            thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(ASKED_LATEST);
        }
        let advice = "it is sent again, which may double it; see what keeps the indexers, or raise timeout_s";
        Err(self.courier.error(
            events,
            advice,
            None,
            "it took the events and no indexer acknowledged them in time",
        ))
    }

    fn body(&self, part: &[Parcel<'_>]) -> Vec<u8> {
        let config::Hec { index, source, sourcetype, .. } = &self.settings;
        // What they all have. The names are plain.
        let mut common = format!(",\"source\":\"{}\",\"sourcetype\":\"{}\"", source.get(), sourcetype.get());
        if let Some(index) = index {
            common += &format!(",\"index\":\"{}\"", index.get());
        }
        let size = |parcel: &Parcel<'_>| parcel.bytes.len() + parcel.host.len() + common.len() + 64;
        let mut body = Vec::with_capacity(part.iter().map(size).sum());
        for parcel in part {
            // A vector takes every byte.
            let (seconds, rest) =
                (parcel.time.div_euclid(1_000_000_000), parcel.time.rem_euclid(1_000_000_000));
            let _ = write!(body, "{{\"time\":{seconds}.{:06},\"host\":", rest / 1000);
            json_string(parcel.host.as_bytes(), &mut body);
            body.extend_from_slice(common.as_bytes());
            body.extend_from_slice(b",\"event\":");
            match parcel.bytes {
                object @ [b'{', .., b'}'] => body.extend_from_slice(object),
                text => drop(json_string(text, &mut body)),
            }
            body.extend_from_slice(b"}\n");
        }
        body
    }
}

impl ByHttp for Hec {
    fn courier(&self) -> &Courier {
        &self.courier
    }

    fn courier_mut(&mut self) -> &mut Courier {
        &mut self.courier
    }

    fn send(&mut self, part: &[Parcel<'_>]) -> Result<Sent, FarError> {
        let body = self.body(part);
        let bytes = body.len();
        let said = self.ask("/services/collector/event", body, part.len())?;
        let reply: Option<Reply> = parse(&said.body).ok();
        let code = reply.as_ref().and_then(|reply| reply.code);
        match (said.sort(), code) {
            (Sort::Taken, Some(0)) => self.indexed(part.len(), reply.and_then(|reply| reply.ack_id)),
            (Sort::Taken, _) => Err(self.courier.garbled(part.len())),
            (Sort::Refused, Some(code)) => match (sort(code), reply) {
                (Sort::Refused, Some(reply)) => Ok(self.refused(part.len(), &reply)),
                (sort, _) => Err(self.courier.unsent(part.len(), &said, sort)),
            },
            (Sort::Settings(_), Some(code)) if let Sort::Settings(advice) = sort(code) => {
                Err(self.courier.unsent(part.len(), &said, Sort::Settings(advice)))
            }
            (Sort::Refused, None) => Ok(Sent::Halve(said.reason())),
            (Sort::TooLarge, _) => Ok(self.courier.too_large(part.len(), bytes, &said)),
            (sort @ (Sort::Later | Sort::Settings(_)), _) => {
                Err(self.courier.unsent(part.len(), &said, sort))
            }
        }
    }
}

/// What it says to events.
#[derive(Deserialize)]
struct Reply {
    code: Option<i64>,
    text: Option<String>,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

/// What it says of what is indexed.
#[derive(Deserialize)]
struct Acks {
    acks: HashMap<String, bool>,
}

/// What its codes mean, where they don't mean that all is well or may be later (Splunk, "Troubleshoot HTTP Event Collector").
fn sort(code: i64) -> Sort {
    match code {
        // Nothing in it, not understood, no event, a blank one, fields that can't be indexed.
        5 | 6 | 12 | 13 | 15 => Sort::Refused,
        1..=4 | 16 => Sort::Settings("check token_file, and that the token is enabled"),
        7 => Sort::Settings("the token may not write to this index: check index, and the token"),
        10 | 11 | 14 => Sort::Settings(
            "acknowledge must be set where the token has acknowledgement (useACK), and only there",
        ),
        _ => Sort::Later,
    }
}

/// A name in the form of a GUID, of the library's own random keys: it need not be secret.
fn channel() -> String {
    let word = || RandomState::new().hash_one(0_u8);
    let bytes = (u128::from(word()) << 64) | u128::from(word());
    let digits = format!("{bytes:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
