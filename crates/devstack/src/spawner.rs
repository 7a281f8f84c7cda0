//! One thread that lives as long as the program starts every child.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that started the child ends, and a runtime's threads come and go.

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
                // Whoever asked is gone only if its thread panicked.
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let gone = || io::Error::other("the thread that starts processes has ended");
    let (answer, result) = mpsc::channel();
    spawner.send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}
