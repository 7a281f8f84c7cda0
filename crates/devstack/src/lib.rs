#![doc = include_str!("../README.md")]

mod api_server;
mod ferretdb;
mod jaeger;
mod maildev;
mod ports;
mod postgres;
mod process;
mod rabbitmq;
mod ready;
mod service;
mod spawner;
mod stack;
mod state;
mod tools;

pub use api_server::ApiServer;
pub use ferretdb::FerretDb;
pub use jaeger::Jaeger;
pub use maildev::MailDev;
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::Process;
pub use rabbitmq::RabbitMq;
pub use service::{Service, ServiceOptions};
pub use stack::{DevStack, Options};
pub use state::StateDir;
pub use tools::{our_binary, tool};
