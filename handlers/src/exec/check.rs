//! [`Exec::check`]: whether a command can run, without running it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};

use super::{Exec, INHERITED};

/// Why a command cannot run: what was found, and what is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
#[non_exhaustive]
pub struct CannotRun(String);

impl Exec {
    /// Checks that the program exists and that this user may execute it, that the interpreter exists which the
    /// first line of a script names, and that the system takes arguments and variables of this length. Runs
    /// nothing.
    ///
    /// # Errors
    ///
    /// When the command cannot run now. Its text names what is missing.
    pub fn check(&self) -> Result<(), CannotRun> {
        let Some(program) = self.command.first().filter(|name| !name.is_empty()) else {
            return Err(CannotRun("it is empty".to_owned()));
        };
        let path = self.path();
        let file = find(program, path.as_deref()).map_err(CannotRun)?;
        check_head(&file, program, path.as_deref()).map_err(CannotRun)?;
        self.check_length().map_err(CannotRun)
    }

    /// The folders in which the system looks for the program.
    fn path(&self) -> Option<OsString> {
        let own = self.env.get("PATH").map(OsString::from);
        own.or_else(|| std::env::var_os("PATH"))
    }

    /// Whether the system can start a program with these arguments and variables.
    fn check_length(&self) -> Result<(), String> {
        let inherited = INHERITED
            .iter()
            .filter(|name| !self.env.contains_key(**name));
        let inherited = inherited.filter_map(|name| {
            let length = std::env::var_os(name)?.len();
            Some((name.len() + length + 2, *name))
        });
        let own = self.env.iter();
        let own = own.map(|(name, value)| (name.len() + value.len() + 2, name.as_str()));
        let arguments = self
            .command
            .iter()
            .map(|text| (text.len() + 1, "an argument"));
        let mut total = RESERVED;
        for (bytes, what) in arguments.chain(own).chain(inherited) {
            if bytes > MAX_TEXT {
                return Err(format!(
                    "{what} has {bytes} bytes; the system takes at most {MAX_TEXT} for one"
                ));
            }
            total += bytes + size_of::<usize>();
        }
        let most = most_bytes();
        if total as u64 > most {
            return Err(format!(
                "arguments and variables have {total} bytes; the system takes at most {most}"
            ));
        }
        Ok(())
    }
}

/// How many bytes of arguments and variables a program can be given, by execve(2).
fn most_bytes() -> u64 {
    let stack = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
    (stack / 4).clamp(MAX_TEXT as u64, 6 * 1024 * 1024)
}

/// The file of a program, as the system finds it: a name with a slash is a path, any other is looked for in
/// the folders of `path`.
fn find(program: &str, path: Option<&OsStr>) -> Result<PathBuf, String> {
    if program.contains('/') {
        let file = PathBuf::from(program);
        return match runnable(&file) {
            Ok(()) => Ok(file),
            Err(problem) => Err(problem.unwrap_or_else(|| no_file(&file))),
        };
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut problem = None;
    for folder in std::env::split_paths(path) {
        let file = folder.join(program);
        match runnable(&file) {
            Ok(()) => return Ok(file),
            // The system looks on, and so does this.
            Err(found) => problem = problem.or(found),
        }
    }
    let path = path.to_string_lossy();
    Err(problem.unwrap_or_else(|| format!("there is no program {program:?} in PATH ({path})")))
}

/// Whether this user may execute a file. The error is a problem of the file, or `None` if there is none.
fn runnable(file: &Path) -> Result<(), Option<String>> {
    let metadata = file.metadata().map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => None,
        _ => Some(format!("{file:?}: {error}")),
    })?;
    if metadata.is_dir() {
        return Err(Some(format!("{file:?} is a folder, not a program")));
    }
    access(file, Access::EXEC_OK).map_err(|error| {
        Some(format!(
            "this user may not execute {file:?} ({error}); chmod +x makes a script a program"
        ))
    })
}

fn no_file(file: &Path) -> String {
    let folder = std::env::current_dir().ok().filter(|_| file.is_relative());
    let place = folder.map(|folder| format!(" in {}", folder.display()));
    format!("there is no file {file:?}{}", place.unwrap_or_default())
}

/// Whether the system can tell from a file's beginning how to execute it. `program` is its name in the
/// command.
fn check_head(file: &Path, program: &str, path: Option<&OsStr>) -> Result<(), String> {
    let mut head = Vec::new();
    let opened = File::open(file);
    let read = opened.and_then(|file| file.take(MAX_HEAD).read_to_end(&mut head));
    if read.is_err() {
        // What cannot be read can still be executed.
        return Ok(());
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        return check_interpreter(file, line, path);
    }
    // A program in PATH is given to sh in this case.
    if program.contains('/') && !head.contains(&0) {
        return Err(format!(
            "the first line of {file:?} names no interpreter, such as #!/bin/sh"
        ));
    }
    Ok(())
}

/// Whether the interpreter exists that a script names. `line` is what follows `#!`.
fn check_interpreter(script: &Path, line: &[u8], path: Option<&OsStr>) -> Result<(), String> {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let mut next = || words.find(|word| !word.is_empty()).map(OsStr::from_bytes);
    let missing = |name: &OsStr, why: String| format!("{script:?} needs {name:?}: {why}");
    let Some(interpreter) = next() else {
        return Ok(());
    };
    let absent = || {
        format!(
            "there is no such file; the first line is \"#!{}\"",
            line.escape_ascii()
        )
    };
    runnable(Path::new(interpreter))
        .map_err(|why| missing(interpreter, why.unwrap_or_else(absent)))?;
    // `#!/usr/bin/env python3`
    let by_env = Path::new(interpreter).file_name() == Some(OsStr::new("env"));
    let named = next().and_then(OsStr::to_str);
    match named.filter(|name| by_env && !name.starts_with('-') && !name.contains('=')) {
        Some(name) => find(name, path)
            .map(drop)
            .map_err(|why| missing(OsStr::new(name), why)),
        None => Ok(()),
    }
}

/// Where the system looks without PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The longest single text that Linux gives a program.
const MAX_TEXT: usize = 128 * 1024;

/// Room for the variables that offhook sets, and for what the system adds.
const RESERVED: usize = 16 * 1024;

/// How much of a script's first line Linux reads.
const MAX_HEAD: u64 = 256;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn checked(program: &str) -> Result<(), String> {
        let exec = Exec {
            command: vec![program.to_owned()],
            ..Exec::default()
        };
        exec.check().map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_run_is_told() {
        let folder = std::env::temp_dir().join(format!("offhook-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let script = |name: &str, text: &str, mode: u32| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let good = [
            "sh".to_owned(),
            "/bin/sh".to_owned(),
            script("good", "#! /bin/sh -e\n", 0o755),
            script("env", "#!/usr/bin/env sh\n", 0o755),
            script("env-s", "#!/usr/bin/env -S sh -e\n", 0o755),
        ];
        let bad = [
            (String::new(), "it is empty"),
            (
                "no-such-program".to_owned(),
                "there is no program \"no-such-program\" in PATH (",
            ),
            (
                "/no/such/program".to_owned(),
                "there is no file \"/no/such/program\"",
            ),
            (
                script("data", "#!/bin/sh\n", 0o644),
                "this user may not execute",
            ),
            (
                folder.to_str().unwrap().to_owned(),
                "is a folder, not a program",
            ),
            (
                script("lost", "#!/no/such/sh\n", 0o755),
                "needs \"/no/such/sh\": there is no such file",
            ),
            (
                script("crlf", "#!/bin/sh\r\n", 0o755),
                "needs \"/bin/sh\\r\": there is no such file",
            ),
            (
                script("none", "#!/usr/bin/env no-such-sh\n", 0o755),
                "there is no program \"no-such-sh\"",
            ),
            (
                script("plain", "exit 0\n", 0o755),
                "names no interpreter, such as #!/bin/sh",
            ),
            (script("empty", "", 0o755), "names no interpreter"),
            ("./no-such-program".to_owned(), "\"./no-such-program\" in /"),
        ];
        let found: Vec<_> = good.iter().map(|program| checked(program)).collect();
        let problems = bad.map(|(program, expected)| (checked(&program).unwrap_err(), expected));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(found.iter().all(Result::is_ok), "{found:?}");
        for (problem, expected) in problems {
            assert!(problem.contains(expected), "{problem}\nnot {expected}");
        }
    }

    #[test]
    fn the_programs_own_path_counts() {
        let mut exec = Exec {
            command: vec!["sh".to_owned()],
            ..Exec::default()
        };
        exec.env
            .insert("PATH".to_owned(), "/no/such/folder".to_owned());
        let text = exec.check().unwrap_err().to_string();
        assert_eq!(text, "there is no program \"sh\" in PATH (/no/such/folder)");
    }

    /// What passes can be started, and what is refused cannot.
    #[test]
    fn the_length_is_the_systems() {
        let started = |exec: &Exec| {
            let mut command = std::process::Command::new(&exec.command[0]);
            let command = command.args(&exec.command[1..]).env_clear().envs(&exec.env);
            command.status().map(|status| status.success())
        };
        let mut exec = Exec {
            command: ["/bin/sh", "-c", "exit 0"].map(str::to_owned).to_vec(),
            ..Exec::default()
        };
        exec.env.insert("A".to_owned(), "x".repeat(MAX_TEXT - 3));
        assert_eq!(exec.check(), Ok(()));
        assert!(started(&exec).unwrap());
        exec.env.insert("A".to_owned(), "x".repeat(MAX_TEXT));
        let text = exec.check().unwrap_err().to_string();
        assert!(text.starts_with("A has 131075 bytes"), "{text}");
        assert!(started(&exec).is_err());
        exec.env.clear();
        let count = usize::try_from(most_bytes()).unwrap() / 100_000 + 1;
        let argument = "x".repeat(100_000);
        exec.command.extend(std::iter::repeat_n(argument, count));
        let text = exec.check().unwrap_err().to_string();
        assert!(text.starts_with("arguments and variables have "), "{text}");
        assert!(started(&exec).is_err());
    }
}
