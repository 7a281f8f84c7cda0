//! Starts all children from one thread that lives as long as the program.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that started the child ends, and threads of a Tokio runtime may end earlier.

use std::{
    io,
    process::{Child, Command},
    sync::{OnceLock, mpsc},
    thread,
};

type Job = (Command, mpsc::Sender<io::Result<Child>>);

static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();

pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                // Fails only if the requesting thread panicked.
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let ended = || io::Error::other("the spawner thread has ended");
    let (answer, result) = mpsc::channel();
    spawner.send((command, answer)).map_err(|_| ended())?;
    result.recv().map_err(|_| ended())?
}
