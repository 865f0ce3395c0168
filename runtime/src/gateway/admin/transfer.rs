//! `GET …/export` and `PUT …/import`: an object's database as a file. Neither holds the complete file in memory.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::try_unfold;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use http_body::Body as _;
use tokio::task::spawn_blocking;

use super::objects::ObjectRoute;
use super::{Admin, problem, to_the_end};
use crate::base::disk::is_lack_of_room;
use crate::base::operation::Export;
use crate::gateway::problem::Problem;
use crate::router::ImportFailed;

/// Bytes that are read or written at once.
const CHUNK: usize = 256 * 1024;

impl ObjectRoute<'_> {
    /// Sends the object's database.
    pub(super) async fn export(self) -> Result<Response, Problem> {
        let file = self.deliver(Export).await?.ok_or_else(|| self.unknown())?;
        let ObjectRoute { address, .. } = self;
        let length = file.metadata().map_err(Problem::internal)?.len();
        let headers = [
            (CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
            (CONTENT_LENGTH, length.to_string()),
            (CONTENT_DISPOSITION, format!("attachment; filename=\"{}-{}.sqlite\"", address.class, address.id)),
        ];
        let chunks = try_unfold(file, |file| async {
            let (file, chunk) = spawn_blocking(move || read_chunk(file)).await.map_err(io::Error::other)??;
            io::Result::Ok((!chunk.is_empty()).then_some((chunk, file)))
        });
        Ok((headers, Body::from_stream(chunks)).into_response())
    }

    /// Replaces the object's database with the body.
    pub(super) async fn import(self, body: &mut Body) -> Result<Response, Problem> {
        let upload = self.admin.router.incoming().map_err(Problem::of_storage)?;
        let file = upload.as_file().try_clone().map_err(Problem::internal)?;
        self.admin.save(body, self.admin.router.import_max(), file).await?;
        let (router, call) = (self.admin.router.clone(), self.call(upload));
        let id = call.id;
        match to_the_end(async move { router.import(call).await }).await? {
            Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
            Err(ImportFailed::Refused(why)) => Err(Problem::new(&problem::IMPORT_REFUSED, why).about(&self.address)),
            Err(ImportFailed::Storage(error)) => Err(Problem::of_storage(error)),
            Err(ImportFailed::Turn(error)) => Err(Problem::of_turn(&error, (&self.address, id), true)),
        }
    }
}

impl Admin {
    /// Writes a body of at most `limit` bytes to a file.
    async fn save(&self, body: &mut Body, limit: u64, file: File) -> Result<(), Problem> {
        let refused = || {
            Problem::new(
                &problem::BODY_TOO_LARGE,
                format!("the database has more than the {limit} bytes that an object may store"),
            )
        };
        if body.size_hint().lower() > limit {
            return Err(refused());
        }
        let (mut left, mut gathered) = (limit, Vec::with_capacity(CHUNK));
        let (file, mut offset) = (Arc::new(file), 0);
        loop {
            let data = match self.settings.intake.next_piece(body).await? {
                Some(data) => data,
                None if gathered.is_empty() => return Ok(()),
                None => Bytes::new(),
            };
            left = left.checked_sub(data.len() as u64).ok_or_else(refused)?;
            gathered.extend_from_slice(&data);
            if gathered.len() >= CHUNK || data.is_empty() {
                let (router, file, chunk) = (self.router.clone(), file.clone(), std::mem::take(&mut gathered));
                let (at, bytes) = (offset, chunk.len() as u64);
                let wrote = spawn_blocking(move || router.write_incoming(&file, &chunk, at)).await;
                wrote.map_err(Problem::internal)?.map_err(no_room)?;
                offset += bytes;
            }
        }
    }
}

fn read_chunk(mut file: File) -> io::Result<(File, Bytes)> {
    let mut chunk = vec![0; CHUNK];
    let read = file.read(&mut chunk)?;
    chunk.truncate(read);
    Ok((file, chunk.into()))
}

fn no_room(error: io::Error) -> Problem {
    match is_lack_of_room(&error) {
        true => Problem::new(&problem::STORAGE_FULL, format!("the disk has no room for the upload: {error}")),
        false => Problem::internal(error),
    }
}
