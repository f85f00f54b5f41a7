//! `offhook serve`: runs the server until it is stopped.

use clap::Args;
use futures_util::future::join;
use offhook::Offhook;
use offhook::settings::Settings;

use super::output::{Failure, Outcome, Verdict};
use super::welcome::Welcome;
use super::{SettingsFile, invocation, output};

/// Receive webhooks as a settings file says (the default)
///
/// Serves until SIGINT (Ctrl-C) or SIGTERM, then finishes running work and exits. RUST_LOG sets how much
/// is logged to standard error: error, warn, info (the default), debug.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    file: SettingsFile,
}

impl Serve {
    /// What `offhook` runs without a command.
    pub(super) fn new(file: SettingsFile) -> Self {
        Self { file }
    }

    pub(super) fn run(self) -> Outcome {
        let settings = self.file.load("nothing was started")?;
        offhook::logging::init();
        actix_rt::System::new().block_on(serve(settings))
    }
}

async fn serve(settings: Settings) -> Outcome {
    let failed = |error: offhook::Error| Failure::failed(error.to_string());
    let server = Offhook::new(settings.clone())
        .start()
        .await
        .map_err(failed)?;
    let welcome = Welcome {
        settings: &settings,
        public: server.public_address(),
        admin: server.admin_address(),
        program: &invocation(),
    };
    // Signals are handled before the address is printed, because a reader of it may stop the server
    // immediately.
    let told = async { output::note(&welcome.text()) };
    let (stopped, ()) = join(server.run_until_stopped(), told).await;
    stopped.map_err(failed)?;
    Ok(Verdict::Yes)
}

impl SettingsFile {
    /// Loads the settings. If they are invalid, prints every problem and `consequence` to standard
    /// error.
    pub(super) fn load(&self, consequence: &str) -> Result<Settings, Failure> {
        Settings::load(&self.settings).map_err(|problems| {
            let problems = problems.list();
            for problem in problems {
                output::note(problem.to_string().trim_end());
            }
            let counted = match problems.len() {
                1 => "1 problem".to_owned(),
                many => format!("{many} problems"),
            };
            Failure::failed(format!("{counted} in the settings; {consequence}"))
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook serve
  offhook serve --settings /etc/offhook.toml
  OFFHOOK__SERVER__BIND=127.0.0.1:8080 RUST_LOG=debug offhook serve";
