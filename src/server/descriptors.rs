//! File descriptors: the process takes as many as it may have, and divides them.

use rustix::process::{Resource, getrlimit, setrlimit};

/// How many connections the process can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// To the public listener.
    pub(super) public: usize,
    /// To the admin listener.
    pub(super) admin: usize,
}

impl Descriptors {
    /// Raises the limit as far as the system allows, and divides what is not in use.
    pub(super) fn divide(max_connections: usize) -> Self {
        let limit = raised();
        let in_use = std::fs::read_dir("/proc/self/fd").map_or(IN_USE, Iterator::count);
        let divided = Self::of(limit, in_use, max_connections);
        if divided.public < max_connections {
            log::warn!(
                "server.max_connections is {max_connections}, but the limit of {limit} open files \
                 (ulimit -n) has room for {}; raise it",
                divided.public
            );
        }
        divided
    }

    fn of(limit: usize, in_use: usize, max_connections: usize) -> Self {
        let free = limit.saturating_sub(in_use);
        let admin = (free / 8).clamp(4, MAX_ADMIN_CONNECTIONS);
        // For the journal's files, the connections to subscribers, and the programs of `exec`.
        let others = (free / 4).clamp(8, OTHERS);
        Self {
            public: free
                .saturating_sub(admin + others)
                .clamp(1, max_connections),
            admin,
        }
    }
}

/// Raises the soft limit to the hard limit. Returns the limit.
fn raised() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let before = limit.current;
        limit.current = limit.maximum;
        if setrlimit(Resource::Nofile, limit.clone()).is_err() {
            limit.current = before;
        }
    }
    // Programs that `exec` starts have this limit too.
    limit.current.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// How many connections the admin listener has at most.
const MAX_ADMIN_CONNECTIONS: usize = 256;

/// How many descriptors are left for others, where there are enough.
const OTHERS: usize = 4096;

/// About how many are in use at a start, where the system does not say it.
const IN_USE: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided() {
        let table = [
            // limit, in use, max_connections, public, admin
            (usize::MAX, 40, 8192, 8192, 256),
            (1_048_576, 40, 8192, 8192, 256),
            (1024, 40, 8192, 615, 123),
            (1024, 40, 300, 300, 123),
            (100, 40, 8192, 38, 7),
            (64, 40, 8192, 12, 4),
            (40, 40, 8192, 1, 4),
        ];
        for (limit, in_use, max, public, admin) in table {
            let divided = Descriptors::of(limit, in_use, max);
            assert_eq!(divided, Descriptors { public, admin }, "{limit} {in_use}");
        }
    }
}
