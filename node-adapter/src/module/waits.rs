//! Who waits for whom: modules that call modules. The node sees every such call, so it sees the circle before it closes.

use parking_lot::Mutex;

/// Calls from module to module that have no answer yet.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    open: Vec<Edge>,
}

#[derive(Debug)]
struct Edge {
    number: u64,
    from: String,
    to: String,
}

/// One call; dropped when it is over.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    waits: &'a Waits,
    number: u64,
}

impl Waits {
    /// Module `from` is to wait for module `to`.
    ///
    /// # Errors
    ///
    /// The circle that would close, `from` at both its ends: all in it would wait until a deadline.
    pub(super) fn enter(&self, from: &str, to: &str) -> Result<Waiting<'_>, Vec<String>> {
        let mut state = self.0.lock();
        if let Some(mut path) = state.path(to, from) {
            path.insert(0, from.to_owned());
            return Err(path);
        }
        state.last_number += 1;
        let number = state.last_number;
        state.open.push(Edge { number, from: from.to_owned(), to: to.to_owned() });
        Ok(Waiting { waits: self, number })
    }

    /// Calls that are open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().open.len()
    }
}

impl State {
    /// The modules from `start` to `end`, each waiting for the next.
    fn path(&self, start: &str, end: &str) -> Option<Vec<String>> {
        let mut paths = vec![vec![start.to_owned()]];
        let mut seen = vec![start.to_owned()];
        while let Some(path) = paths.pop() {
            let last = path.last().map_or(start, String::as_str);
            if last == end {
                return Some(path);
            }
            for edge in self.open.iter().filter(|edge| edge.from == last) {
                if !seen.contains(&edge.to) {
                    seen.push(edge.to.clone());
                    paths.push([&path[..], std::slice::from_ref(&edge.to)].concat());
                }
            }
        }
        None
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waits.0.lock().open.retain(|edge| edge.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_refused_naming_everybody_in_it_and_open_calls_end_with_their_guard() {
        let waits = Waits::default();
        let circle = |from, to| waits.enter(from, to).err().map(|path| path.join(" -> "));
        let a_b = waits.enter("a", "b").unwrap();
        let b_c = waits.enter("b", "c").unwrap();
        let _b_d = waits.enter("b", "d").unwrap();
        assert_eq!(circle("c", "a").as_deref(), Some("c -> a -> b -> c"));
        assert_eq!(circle("b", "a").as_deref(), Some("b -> a -> b"));
        assert_eq!(circle("e", "e").as_deref(), Some("e -> e"));
        // Twice the same way is no circle, nor are two ways to one module.
        let _again = waits.enter("a", "b").unwrap();
        let _d_c = waits.enter("d", "c").unwrap();
        drop(b_c);
        assert!(circle("c", "a").is_some(), "by way of d");
        drop(a_b);
        assert_eq!(waits.len(), 3);
    }
}
