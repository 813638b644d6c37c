//! Which objects are open while members are written in the dictionary's order, and the keys of
//! both. Names are taken apart once for all lines: a line only copies.

use crate::field::{Field, Kind};
use std::sync::LazyLock;

/// The objects that are open, inside the line or inside an element of an array.
pub(super) struct Nest {
    plan: &'static Plan,
    /// The innermost, as a place in the plan.
    open: usize,
}

impl Nest {
    /// In the line, or in an element of this array, of which nothing is written yet.
    pub(super) fn new(array: Option<Field>) -> Self {
        static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
            let arrays = Field::ALL.iter().filter(|field| field.kind() == Kind::Objects);
            std::iter::once(None).chain(arrays.copied().map(Some)).map(Plan::new).collect()
        });
        // What is no array of objects has elements that keep all their names, as the line does.
        let plan = PLANS.iter().find(|plan| plan.array == array).unwrap_or(&PLANS[0]);
        Nest { plan, open: 0 }
    }

    /// Leaves and enters objects until those of the field are open, and writes its key.
    pub(super) fn key(&mut self, field: Field, out: &mut Vec<u8>) {
        let member = &self.plan.members[field as usize];
        if self.open != member.object {
            self.plan.turn(self.open, member.object, out);
            self.open = member.object;
        }
        member.key.write(out);
    }

    /// Whether it is that of the line.
    pub(super) fn is_line(&self) -> bool {
        self.plan.array.is_none()
    }

    /// The member of this field was written, with all that comes before it.
    pub(super) fn at(&mut self, field: Field) {
        self.open = self.plan.members[field as usize].object;
    }

    /// Leaves all objects.
    pub(super) fn close(self, out: &mut Vec<u8>) {
        self.plan.turn(self.open, 0, out);
    }
}

/// Where every field goes.
struct Plan {
    array: Option<Field>,
    /// Outer ones first; the first is the one that all stand in.
    objects: Vec<Object>,
    /// For each field, in the dictionary's order.
    members: Vec<Member>,
}

struct Object {
    path: &'static str,
    outer: usize,
    depth: usize,
    /// With the brace that follows it.
    key: Key,
}

struct Member {
    object: usize,
    key: Key,
}

impl Plan {
    fn new(array: Option<Field>) -> Self {
        let root = Object { path: "", outer: 0, depth: 0, key: Key::new("", "{") };
        let mut plan = Plan { array, objects: vec![root], members: Vec::new() };
        for field in Field::ALL {
            let object = plan.object(inside(*field, array));
            plan.members.push(Member { object, key: Key::new(field.short(), "") });
        }
        plan
    }

    /// The place of the object of this dotted path, which is made if it isn't there.
    fn object(&mut self, path: &'static str) -> usize {
        if let Some(known) = self.objects.iter().position(|object| object.path == path) {
            return known;
        }
        let (outer, name) = path.rsplit_once('.').unwrap_or(("", path));
        let outer = self.object(outer);
        let depth = self.objects[outer].depth + 1;
        self.objects.push(Object { path, outer, depth, key: Key::new(name, "{") });
        self.objects.len() - 1
    }

    /// From one object to the other by way of the innermost that both stand in.
    fn turn(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        if from == to {
            return;
        }
        let (left, entered) = (&self.objects[from], &self.objects[to]);
        if left.depth >= entered.depth {
            out.push(b'}');
            self.turn(left.outer, to, out);
        } else {
            self.turn(from, entered.outer, out);
            entered.key.write(out);
        }
    }
}

/// A key as it is written, in as many bytes as the longest needs: copying a number of bytes that is
/// known beforehand is a few instructions.
struct Key {
    bytes: [u8; Key::MOST],
    len: usize,
}

impl Key {
    const MOST: usize = 32;

    /// No name ever needs an escape.
    fn new(name: &str, after: &str) -> Self {
        let written = format!("\"{name}\":{after}");
        let (mut bytes, len) = ([0; Self::MOST], written.len().min(Self::MOST));
        bytes[..len].copy_from_slice(&written.as_bytes()[..len]);
        Key { bytes, len }
    }

    /// With a comma before it if something stands there in its object.
    fn write(&self, out: &mut Vec<u8>) {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

/// The objects that the field stands in, as seen from inside the objects of this array: none for
/// `sensor.runners.pid` inside `sensor.runners`. A field from elsewhere keeps all of its own.
fn inside(field: Field, array: Option<Field>) -> &'static str {
    let object = field.object();
    match array.and_then(|array| object.strip_prefix(array.name())) {
        Some("") => "",
        Some(rest) => rest.strip_prefix('.').unwrap_or(object),
        None => object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(from: &'static str, to: &'static str) -> String {
        let mut plan = Plan::new(None);
        let (from, to) = (plan.object(from), plan.object(to));
        let mut out = b"1".to_vec();
        plan.turn(from, to, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_part_where_an_object_ends() {
        assert_eq!(turned("process.parent", "process.previous"), r#"1},"previous":{"#);
        assert_eq!(turned("process", "process.thread"), r#"1,"thread":{"#);
        assert_eq!(turned("process.thread.capabilities", "process"), "1}}");
        assert_eq!(turned("user", "user_agent"), r#"1},"user_agent":{"#);
        assert_eq!(turned("a.user", "a.user_agent"), r#"1},"user_agent":{"#);
        assert_eq!(turned("a.user.b", "c"), r#"1}}},"c":{"#);
        assert_eq!(turned("", "host.boot"), r#"1,"host":{"boot":{"#);
        assert_eq!(turned("host", "host"), "1");
    }

    #[test]
    fn every_key_has_room() {
        let plan = Plan::new(None);
        let keys = plan.members.iter().map(|member| &member.key);
        assert!(keys.chain(plan.objects.iter().map(|object| &object.key)).all(|key| key.len < Key::MOST));
    }

    #[test]
    fn every_object_of_an_array_is_known_by_its_short_path() {
        let at = |field, array| inside(field, Some(array));
        assert_eq!(at(Field::RunnerPid, Field::SensorRunners), "");
        assert_eq!(at(Field::RunnerPid, Field::SensorLost), "sensor.runners");
        assert_eq!(at(Field::ProcessThreadId, Field::SensorRunners), "process.thread");
        assert_eq!(inside(Field::ProcessThreadId, None), "process.thread");
    }
}
