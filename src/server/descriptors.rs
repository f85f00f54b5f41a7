//! File descriptors: the process takes as many as it may have, and divides them.

use rustix::process::{Resource, getrlimit, setrlimit};

/// How many connections the process can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// To the public listener.
    pub(super) public: usize,
    /// To the admin listener.
    pub(super) admin: usize,
    /// How many each worker has beside its share, until others have given way.
    pub(super) spare: usize,
}

impl Descriptors {
    /// Raises the limit as far as the system allows, and divides what is not in use. `workers` are those of
    /// the public listener.
    pub(super) fn divide(workers: usize, max_connections: usize) -> Self {
        let limit = raised();
        let in_use = std::fs::read_dir("/proc/self/fd").map_or(IN_USE, Iterator::count);
        let divided = Self::of(limit, in_use, workers, max_connections);
        if divided.public < max_connections {
            log::warn!(
                "server.max_connections is {max_connections}, but the limit of {limit} open files \
                 (ulimit -n) has room for {}; raise it",
                divided.public
            );
        }
        divided
    }

    fn of(limit: usize, in_use: usize, workers: usize, max_connections: usize) -> Self {
        // With the one of the admin listener.
        let workers = workers + 1;
        let free = limit.saturating_sub(in_use + workers * OF_A_WORKER);
        let admin = (free / 8).clamp(4, MAX_ADMIN_CONNECTIONS);
        // For the journal's files, the connections to subscribers, and the programs of `exec`.
        let others = (free / 4).clamp(8, OTHERS);
        let spare = (free / 16 / workers).clamp(2, SPARE);
        let public = free.saturating_sub(admin + others + spare * workers);
        Self {
            public: public.clamp(1, max_connections),
            admin,
            spare,
        }
    }
}

/// Raises the soft limit to the hard limit. Returns the limit.
fn raised() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let before = limit.current;
        limit.current = limit.maximum;
        if setrlimit(Resource::Nofile, limit).is_err() {
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

/// How many connections more than its share a worker has at most.
const SPARE: usize = 64;

/// How many descriptors a worker needs for itself.
const OF_A_WORKER: usize = 8;

/// About how many are in use at a start, where the system does not say it.
const IN_USE: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided() {
        let table = [
            // limit, in use, max_connections, public, admin, spare
            (usize::MAX, 40, 8192, 8192, 256, 64),
            (1_048_576, 40, 8192, 8192, 256, 64),
            (1024, 40, 8192, 540, 120, 20),
            (1024, 40, 300, 300, 120, 20),
            (100, 40, 8192, 17, 4, 2),
            (64, 40, 8192, 1, 4, 2),
            (40, 40, 8192, 1, 4, 2),
        ];
        for (limit, in_use, max, public, admin, spare) in table {
            let divided = Descriptors::of(limit, in_use, 2, max);
            let expected = Descriptors {
                public,
                admin,
                spare,
            };
            assert_eq!(divided, expected, "{limit} {in_use}");
        }
    }
}
