//! Lines of JSON to whoever takes them by POST.

use super::{ByHttp, Courier, FarError, Fate, Parcel, Sent, Sort, Who};
use crate::config;

/// The output.
#[derive(Debug)]
pub struct Post {
    courier: Courier,
}

impl Post {
    /// With these settings.
    #[must_use]
    pub fn new(settings: &config::Post) -> Self {
        let who = Who::Login(settings.login.clone());
        Self { courier: Courier::new(settings.over_http(), who, "application/x-ndjson") }
    }
}

impl ByHttp for Post {
    fn courier(&self) -> &Courier {
        &self.courier
    }

    fn courier_mut(&mut self) -> &mut Courier {
        &mut self.courier
    }

    fn send(&mut self, part: &[Parcel<'_>]) -> Result<Sent, FarError> {
        let mut body = Vec::with_capacity(part.iter().map(|parcel| parcel.bytes.len() + 1).sum());
        for parcel in part {
            body.extend_from_slice(parcel.bytes);
            body.push(b'\n');
        }
        let bytes = body.len();
        let said = self.courier.bring("", &[], body, part.len())?;
        match said.sort() {
            Sort::Taken => Ok(Sent::Known(vec![Fate::Arrived; part.len()])),
            Sort::Refused => Ok(Sent::Halve(said.reason())),
            Sort::TooLarge => Ok(self.courier.too_large(part.len(), bytes, &said)),
            sort @ (Sort::Later | Sort::Settings(_)) => Err(self.courier.unsent(part.len(), &said, sort)),
        }
    }

    fn unfit(parcel: &Parcel<'_>) -> Option<&'static str> {
        parcel.bytes.contains(&b'\n').then_some("it has more than one line")
    }
}
