//! Elasticsearch and OpenSearch, by `_bulk`: an event is created under its own id, so one that was there already is a conflict and
//! nothing more.

use serde::Deserialize;

use super::{ByHttp, Courier, FarError, Fate, Parcel, Said, Sent, Sort, Who, short};
use crate::{
    config,
    format::json_string,
    http::{List, parse},
};

/// Most events that can be set to go at once.
const EVENTS: usize = 10_000;

/// The output.
#[derive(Debug)]
pub struct Elasticsearch {
    courier: Courier,
    path: String,
}

impl Elasticsearch {
    /// With these settings.
    #[must_use]
    pub fn new(settings: &config::Elasticsearch) -> Self {
        let who = Who::Login(settings.login.clone());
        let courier = Courier::new(settings.over_http(), who, "application/x-ndjson");
        // Of each event only what is used: whoever doesn't know this says more.
        let path = format!(
            "/{}/_bulk?filter_path=items.*.status,items.*.error.type,items.*.error.reason",
            settings.index.get()
        );
        Self { courier, path }
    }

    fn understand(&self, said: &Said, events: usize) -> Result<Sent, FarError> {
        let bulk: Result<Bulk, _> = parse(&said.body);
        let items = match bulk {
            Ok(Bulk { items: List(items) }) if items.len() == events => items,
            _ => return Err(self.courier.garbled(events)),
        };
        let nowhere = items.iter().map(|item| &item.create).find(|create| create.is_about_the_index());
        let fates: Vec<Fate> = items.iter().map(|item| item.create.fate()).collect();
        match nowhere {
            Some(create) if fates.iter().all(|fate| *fate == Fate::Again) => {
                let advice = "it takes nothing into this index: check index, what the sensor may do there, and the server's disk";
                let reason = crate::format::text::escape(create.reason().as_bytes());
                Err(self.courier.error(events, advice, None, reason))
            }
            _ => Ok(Sent::Known(fates)),
        }
    }
}

impl ByHttp for Elasticsearch {
    fn courier(&self) -> &Courier {
        &self.courier
    }

    fn courier_mut(&mut self) -> &mut Courier {
        &mut self.courier
    }

    fn send(&mut self, part: &[Parcel<'_>]) -> Result<Sent, FarError> {
        let body = body(part);
        let bytes = body.len();
        let said = self.courier.bring(&self.path, &[], body, part.len())?;
        match said.sort() {
            Sort::Taken => self.understand(&said, part.len()),
            Sort::Refused => Ok(Sent::Halve(said.reason())),
            Sort::TooLarge => Ok(self.courier.too_large(part.len(), bytes, &said)),
            sort @ (Sort::Later | Sort::Settings(_)) => Err(self.courier.unsent(part.len(), &said, sort)),
        }
    }

    /// Each line is either what to do or an event, so one that isn't an event in a line would be taken for the other.
    fn unfit(parcel: &Parcel<'_>) -> Option<&'static str> {
        let object = parcel.bytes.starts_with(b"{") && parcel.bytes.ends_with(b"}");
        (!object || parcel.bytes.contains(&b'\n'))
            .then_some("it is no JSON object in a line: Elasticsearch takes no other")
    }
}

fn body(part: &[Parcel<'_>]) -> Vec<u8> {
    let mut body =
        Vec::with_capacity(part.iter().map(|parcel| parcel.bytes.len() + parcel.id.len() + 32).sum());
    for parcel in part {
        body.extend_from_slice(b"{\"create\":{\"_id\":");
        json_string(parcel.id.as_bytes(), &mut body);
        body.extend_from_slice(b"}}\n");
        body.extend_from_slice(parcel.bytes);
        body.push(b'\n');
    }
    body
}

#[derive(Deserialize)]
struct Bulk {
    items: List<Item, EVENTS>,
}

#[derive(Deserialize)]
struct Item {
    create: Create,
}

#[derive(Deserialize)]
struct Create {
    status: u16,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    r#type: Option<String>,
    reason: Option<String>,
}

impl Create {
    fn fate(&self) -> Fate {
        match self.status {
            // It was there: a try before this one arrived.
            200 | 201 | 409 => Fate::Arrived,
            408 | 429 | 500..=599 => Fate::Again,
            _ if self.is_about_the_index() => Fate::Again,
            _ => Fate::Refused(self.reason()),
        }
    }

    /// Whether it says nothing of the event: the index isn't there or is closed, somebody may not write, the disk is full.
    fn is_about_the_index(&self) -> bool {
        matches!(self.status, 401 | 403 | 404)
    }

    fn reason(&self) -> String {
        let fault = self.error.as_ref();
        let word = |word: Option<&String>| word.map(String::as_str).unwrap_or("not said why").to_owned();
        let kind = word(fault.and_then(|fault| fault.r#type.as_ref()));
        let reason = word(fault.and_then(|fault| fault.reason.as_ref()));
        short(&format!("status {}: {kind}: {reason}", self.status))
    }
}
