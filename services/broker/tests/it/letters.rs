//! A fake of the dead letter service of the logger and of authentication.

use std::sync::{Arc, Mutex};

use tonic::{Request, Response, Status};
use weft_proto::weft::deadletter::MAX_MESSAGE_BYTES;
use weft_proto::weft::deadletter::v1::dead_letter_service_server::{
    DeadLetterService, DeadLetterServiceServer,
};
use weft_proto::weft::deadletter::v1::*;

/// Dead letters in memory, in the order in which they were added. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letters {
    pub(crate) all: Arc<Mutex<Vec<(Letter, Content)>>>,
    /// Ids of replayed dead letters, in order.
    pub(crate) replayed: Arc<Mutex<Vec<String>>>,
    /// Delivers replayed dead letters itself, as authentication does.
    delivers: bool,
}

impl Letters {
    pub(crate) fn delivering() -> Self {
        Self { delivers: true, ..Self::default() }
    }

    pub(crate) fn server(&self) -> DeadLetterServiceServer<Self> {
        DeadLetterServiceServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn mark(&self, id: &str, since: Option<prost_types::Timestamp>) {
        let mut all = self.all.lock().unwrap();
        for (letter, _) in all.iter_mut().filter(|(letter, _)| letter.id == id) {
            letter.replaying_since = since;
        }
    }

    fn find(&self, id: &str) -> Result<(Letter, Content), Status> {
        let all = self.all.lock().unwrap();
        let found = all.iter().find(|(letter, _)| letter.id == id).cloned();
        found.ok_or_else(|| Status::not_found("dead letter not found"))
    }
}

#[tonic::async_trait]
impl DeadLetterService for Letters {
    async fn store(&self, request: Request<StoreRequest>) -> Result<Response<StoreResponse>, Status> {
        let StoreRequest { letter, content } = request.into_inner();
        let (letter, content) = (letter.unwrap(), content.unwrap());
        let created = self.find(&letter.id).is_err();
        if created {
            self.all.lock().unwrap().push((letter, content));
        }
        Ok(Response::new(StoreResponse { created }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let ListRequest { filter, limit, cursor } = request.into_inner();
        let Filter { queue, r#type, reason, .. } = filter.unwrap();
        if !cursor.is_empty() && cursor != "1" {
            return Err(Status::invalid_argument("cursor: invalid value"));
        }
        if r#type.chars().count() > 256 || reason.chars().count() > 256 {
            return Err(Status::invalid_argument("type or reason is too long"));
        }
        let limit = if limit == 0 { 100 } else { limit as usize };
        let all = self.all.lock().unwrap();
        let matching = all.iter().map(|(letter, _)| letter).filter(|letter| {
            (queue.is_empty() || letter.queue == queue)
                && (r#type.is_empty() || letter.r#type == r#type)
                && letter.reason.contains(&reason)
        });
        let mut items: Vec<Letter> = matching.take(limit + 1).cloned().collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { "1".to_owned() } else { String::new() };
        Ok(Response::new(ListResponse { items, next_cursor }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (letter, content) = self.find(&request.into_inner().id)?;
        Ok(Response::new(GetResponse { letter: Some(letter), content: Some(content) }))
    }

    async fn replay(&self, request: Request<ReplayRequest>) -> Result<Response<ReplayResponse>, Status> {
        let id = request.into_inner().id;
        let (letter, content) = self.find(&id)?;
        if letter.replaying_since.is_some() {
            return Err(Status::failed_precondition("another replay is running"));
        }
        self.replayed.lock().unwrap().push(id.clone());
        self.mark(&id, Some(prost_types::Timestamp::default()));
        if self.delivers {
            self.all.lock().unwrap().retain(|(letter, _)| letter.id != id);
            return Ok(Response::new(ReplayResponse::default()));
        }
        Ok(Response::new(ReplayResponse { letter: Some(letter), content: Some(content) }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        self.mark(&request.into_inner().id, None);
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        let ids = request.into_inner().ids;
        let mut all = self.all.lock().unwrap();
        let before = all.len();
        all.retain(|(letter, _)| !ids.contains(&letter.id));
        Ok(Response::new(RemoveResponse { removed: u32::try_from(before - all.len()).unwrap() }))
    }
}
