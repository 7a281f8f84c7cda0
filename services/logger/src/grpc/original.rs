//! `logs.LogService/WriteLog`, the interface of the Go course's logger, so that the original's broker can write to this logger.
//!
//! The call has no id, so the logger generates one: a repeat would be a second entry. The entry gets service `unknown` and level
//! INFO.

use tonic::{Request, Response, Status};
use weft_proto::logs::log_service_server::LogService;
use weft_proto::logs::{LogRequest, LogResponse};

use super::{Api, status};
use crate::validate;

/// Implements the original's service.
#[derive(Clone)]
pub struct Original(pub Api);

#[tonic::async_trait]
impl LogService for Original {
    async fn write_log(&self, request: Request<LogRequest>) -> Result<Response<LogResponse>, Status> {
        let Self(api) = self;
        let log = request.into_inner().log_entry;
        let entry = validate::original(log, api.clock.new_id(), &api.received()).map_err(status::invalid)?;
        api.writer.write(vec![entry]).await.map_err(status::unwritten)?;
        Ok(Response::new(LogResponse { result: "logged!".to_owned() }))
    }
}
