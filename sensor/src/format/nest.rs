//! Which objects are open while members are written in an order in which those of one object stand together, and the keys
//! of both. Names are taken apart once for all lines: a line only copies.

/// The objects that are open, inside the line or inside an element of an array.
pub(crate) struct Nest {
    plan: &'static Plan,
    /// The innermost, as a place in the plan.
    open: usize,
}

impl Nest {
    /// Of which nothing is written yet.
    pub(crate) fn new(plan: &'static Plan) -> Self {
        Nest { plan, open: 0 }
    }

    /// Leaves and enters objects until those of the member are open, and writes its key.
    pub(crate) fn key(&mut self, member: usize, out: &mut Vec<u8>) {
        let member = &self.plan.members[member];
        if self.open != member.object {
            self.plan.turn(self.open, member.object, out);
            self.open = member.object;
        }
        member.key.write(out);
    }

    /// The member was written, with all that comes before it.
    pub(crate) fn at(&mut self, member: usize) {
        self.open = self.plan.members[member].object;
    }

    /// Leaves all objects.
    pub(crate) fn close(self, out: &mut Vec<u8>) {
        self.plan.turn(self.open, 0, out);
    }
}

/// Where every member goes.
pub(crate) struct Plan {
    /// Outer ones first; the first is the one that all stand in.
    objects: Vec<Object>,
    members: Vec<Member>,
}

struct Object {
    path: String,
    outer: usize,
    depth: usize,
    /// With the brace that follows it.
    key: Key,
    end: &'static str,
}

struct Member {
    object: usize,
    key: Key,
}

impl Plan {
    /// For members, each with the dotted path of the object that it stands in and its name; `name[]` is an array of one
    /// object.
    pub(crate) fn new<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let root = Object { path: String::new(), outer: 0, depth: 0, key: Key::new("", "{"), end: "}" };
        let mut plan = Plan { objects: vec![root], members: Vec::new() };
        for (path, name) in members {
            let object = plan.object(path);
            plan.members.push(Member { object, key: Key::new(name, "") });
        }
        plan
    }

    /// The place of the object of this dotted path, which is made if it isn't there.
    fn object(&mut self, path: &str) -> usize {
        if let Some(known) = self.objects.iter().position(|object| object.path == path) {
            return known;
        }
        let (outer, name) = path.rsplit_once('.').unwrap_or(("", path));
        let outer = self.object(outer);
        let depth = self.objects[outer].depth + 1;
        let (key, end) = match name.strip_suffix("[]") {
            Some(name) => (Key::new(name, "[{"), "}]"),
            None => (Key::new(name, "{"), "}"),
        };
        self.objects.push(Object { path: path.to_owned(), outer, depth, key, end });
        self.objects.len() - 1
    }

    /// From one object to the other by way of the innermost that both stand in.
    fn turn(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        if from == to {
            return;
        }
        let (left, entered) = (&self.objects[from], &self.objects[to]);
        if left.depth >= entered.depth {
            out.extend_from_slice(left.end.as_bytes());
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

#[cfg(test)]
impl Plan {
    /// Whether no key was cut.
    pub(crate) fn has_room(&self) -> bool {
        let keys = self.members.iter().map(|member| &member.key);
        keys.chain(self.objects.iter().map(|object| &object.key)).all(|key| key.len < Key::MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(from: &'static str, to: &'static str) -> String {
        let mut plan = Plan::new([]);
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
        assert_eq!(turned("a", "b[].c"), r#"1},"b":[{"c":{"#);
        assert_eq!(turned("b[].c", ""), "1}}]");
    }
}
