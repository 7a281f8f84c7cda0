//! `weft.auth.v1.AuthService`: translates between gRPC and [`Accounts`].

mod convert;
pub mod outbox;
mod status;

use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use weft_mesh::Caller;
use weft_proto::weft::auth::v1 as pb;
use weft_proto::weft::auth::v1::auth_service_server::AuthService;
use weft_values::time::to_proto;

use crate::accounts::{AccountError, Accounts, NewUser, SignIn, SignOut};
use crate::store::UserChange;
use status::to_status;

#[derive(Clone)]
pub struct Api(pub Accounts);

/// The caller of a request. Incomplete caller metadata is a fault of the broker and is rejected.
fn caller(metadata: &MetadataMap) -> Result<Option<Caller>, Status> {
    Caller::from_metadata(metadata).map_err(|error| Status::unauthenticated(error.to_string()))
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AuthService for Api {
    async fn sign_in(&self, request: Request<pb::SignInRequest>) -> Reply<pb::SignInResponse> {
        let pb::SignInRequest { email, password, client_address, user_agent } = request.into_inner();
        let sign_in = SignIn { email, password: password.into(), client_address, user_agent };
        let (user, tokens) = self.0.sign_in(sign_in).await.map_err(to_status)?;
        let (user, tokens) = (Some(convert::user(user)), Some(convert::tokens(tokens)));
        Ok(Response::new(pb::SignInResponse { user, tokens }))
    }

    async fn refresh(&self, request: Request<pb::RefreshRequest>) -> Reply<pb::RefreshResponse> {
        let token = SecretString::from(request.into_inner().refresh_token);
        let (user, tokens) = self.0.refresh(&token).await.map_err(to_status)?;
        let (user, tokens) = (Some(convert::user(user)), Some(convert::tokens(tokens)));
        Ok(Response::new(pb::RefreshResponse { user, tokens }))
    }

    async fn sign_out(&self, request: Request<pb::SignOutRequest>) -> Reply<pb::SignOutResponse> {
        let caller = caller(request.metadata())?;
        let pb::SignOutRequest { refresh_token, everywhere } = request.into_inner();
        let refresh_token = Some(SecretString::from(refresh_token)).filter(|t| !t.expose_secret().is_empty());
        let sign_out = SignOut { refresh_token, everywhere };
        let ended = self.0.sign_out(caller.as_ref(), &sign_out).await.map_err(to_status)?;
        Ok(Response::new(pb::SignOutResponse { ended: u32::try_from(ended).unwrap_or(u32::MAX) }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Reply<pb::ListSessionsResponse> {
        let caller = caller(request.metadata())?;
        let (sessions, current) = self.0.sessions(caller.as_ref()).await.map_err(to_status)?;
        let sessions = sessions.into_iter().map(|session| convert::session(session, current)).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions }))
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Reply<pb::RevokeSessionResponse> {
        let caller = caller(request.metadata())?;
        let id = convert::id("session_id", &request.into_inner().session_id)?;
        self.0.revoke_session(caller.as_ref(), id).await.map_err(to_status)?;
        Ok(Response::new(pb::RevokeSessionResponse {}))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Reply<pb::ChangePasswordResponse> {
        let caller = caller(request.metadata())?;
        let pb::ChangePasswordRequest { current_password, new_password } = request.into_inner();
        let (current, new) = (current_password.into(), new_password.into());
        self.0.change_password(caller.as_ref(), &current, &new).await.map_err(to_status)?;
        Ok(Response::new(pb::ChangePasswordResponse {}))
    }

    async fn get_user(&self, request: Request<pb::GetUserRequest>) -> Reply<pb::GetUserResponse> {
        let caller = caller(request.metadata())?;
        let user = self.0.caller(caller.as_ref()).await.map_err(to_status)?;
        Ok(Response::new(pb::GetUserResponse { user: Some(convert::user(user)) }))
    }

    async fn create_user(&self, request: Request<pb::CreateUserRequest>) -> Reply<pb::CreateUserResponse> {
        let caller = caller(request.metadata())?;
        let request = request.into_inner();
        let role = convert::role(request.role)?;
        let pb::CreateUserRequest { id, email, first_name, last_name, password, role: _ } = request;
        let id = convert::id("id", &id)?;
        let new = NewUser { id, email, first_name, last_name, password: password.into(), role };
        let (user, created) = self.0.create_user(caller.as_ref(), new).await.map_err(to_status)?;
        Ok(Response::new(pb::CreateUserResponse { user: Some(convert::user(user)), created }))
    }

    async fn deactivate_user(
        &self,
        request: Request<pb::DeactivateUserRequest>,
    ) -> Reply<pb::DeactivateUserResponse> {
        let caller = caller(request.metadata())?;
        let id = convert::id("user_id", &request.into_inner().user_id)?;
        let user = self.0.deactivate_user(caller.as_ref(), id).await.map_err(to_status)?;
        Ok(Response::new(pb::DeactivateUserResponse { user: Some(convert::user(user)) }))
    }

    async fn update_user(&self, request: Request<pb::UpdateUserRequest>) -> Reply<pb::UpdateUserResponse> {
        let caller = caller(request.metadata())?;
        let pb::UpdateUserRequest { user_id, role, first_name, last_name } = request.into_inner();
        let (id, role) = (convert::id("user_id", &user_id)?, role.map(convert::new_role).transpose()?);
        let change = UserChange { role, first_name, last_name, active: None };
        let user = self.0.update_user(caller.as_ref(), id, change).await.map_err(to_status)?;
        Ok(Response::new(pb::UpdateUserResponse { user: Some(convert::user(user)) }))
    }

    async fn reactivate_user(
        &self,
        request: Request<pb::ReactivateUserRequest>,
    ) -> Reply<pb::ReactivateUserResponse> {
        let caller = caller(request.metadata())?;
        let id = convert::id("user_id", &request.into_inner().user_id)?;
        let user = self.0.reactivate_user(caller.as_ref(), id).await.map_err(to_status)?;
        Ok(Response::new(pb::ReactivateUserResponse { user: Some(convert::user(user)) }))
    }

    async fn delete_user(&self, request: Request<pb::DeleteUserRequest>) -> Reply<pb::DeleteUserResponse> {
        let caller = caller(request.metadata())?;
        let id = convert::id("user_id", &request.into_inner().user_id)?;
        self.0.delete_user(caller.as_ref(), id).await.map_err(to_status)?;
        Ok(Response::new(pb::DeleteUserResponse {}))
    }

    async fn request_password_reset(
        &self,
        request: Request<pb::RequestPasswordResetRequest>,
    ) -> Reply<pb::RequestPasswordResetResponse> {
        let pb::RequestPasswordResetRequest { email, client_address } = request.into_inner();
        self.0.request_reset(&email, &client_address).await.map_err(to_status)?;
        Ok(Response::new(pb::RequestPasswordResetResponse {}))
    }

    async fn start_password_reset(
        &self,
        request: Request<pb::StartPasswordResetRequest>,
    ) -> Reply<pb::StartPasswordResetResponse> {
        let caller = caller(request.metadata())?;
        let id = convert::id("user_id", &request.into_inner().user_id)?;
        self.0.start_reset(caller.as_ref(), id).await.map_err(to_status)?;
        Ok(Response::new(pb::StartPasswordResetResponse {}))
    }

    async fn reset_password(
        &self,
        request: Request<pb::ResetPasswordRequest>,
    ) -> Reply<pb::ResetPasswordResponse> {
        let pb::ResetPasswordRequest { token, new_password } = request.into_inner();
        self.0.reset_password(&token.into(), &new_password.into()).await.map_err(to_status)?;
        Ok(Response::new(pb::ResetPasswordResponse {}))
    }

    async fn list_users(&self, request: Request<pb::ListUsersRequest>) -> Reply<pb::ListUsersResponse> {
        let caller = caller(request.metadata())?;
        let pb::ListUsersRequest { limit, cursor } = request.into_inner();
        let (limit, after) = (convert::limit(limit)?, convert::cursor(&cursor)?);
        let (users, next) = self.0.users(caller.as_ref(), &after, limit).await.map_err(to_status)?;
        let users = users.into_iter().map(convert::user).collect();
        let next_cursor = next.map(|email| convert::to_cursor(&email)).unwrap_or_default();
        Ok(Response::new(pb::ListUsersResponse { users, next_cursor }))
    }

    async fn get_signing_keys(
        &self,
        _: Request<pb::GetSigningKeysRequest>,
    ) -> Reply<pb::GetSigningKeysResponse> {
        self.0.refresh_keys().await;
        let jwks = self.0.keys.jwks().ok_or(AccountError::NotReady).map_err(to_status)?;
        Ok(Response::new(pb::GetSigningKeysResponse { jwks }))
    }

    async fn rotate_signing_keys(
        &self,
        request: Request<pb::RotateSigningKeysRequest>,
    ) -> Reply<pb::RotateSigningKeysResponse> {
        let caller = caller(request.metadata())?;
        let revoke = request.into_inner().revoke;
        let key = self.0.rotate_signing_keys(caller.as_ref(), revoke).await.map_err(to_status)?;
        let signs_from = Some(to_proto(key.signs_from));
        Ok(Response::new(pb::RotateSigningKeysResponse { key_id: key.id.to_string(), signs_from }))
    }
}
