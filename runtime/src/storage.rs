//! stub
#![allow(missing_docs, clippy::all, unused)]
use crate::base::*; use std::path::*;
#[derive(Clone,Copy,Debug,Default)] pub struct Lsn(u64);
#[derive(Clone,Debug)] pub struct DurableWatch;
impl DurableWatch { pub fn covers(&self,l:Lsn)->bool{true} pub async fn reached(&mut self,l:Lsn){} }
#[derive(Debug,thiserror::Error)] #[error("x")] pub enum StorageError { X }
#[derive(Debug,thiserror::Error)] pub enum ApplyError { #[error("{0}")] Full(String), #[error("x")] X }
pub struct Applied { pub lsn: Lsn, pub wrote: bool, pub bytes: u64 }
pub struct Databases; impl Databases { pub fn database(&self, a:&ObjectAddress)->Database{loop{}} }
pub struct Database; impl Database {
 pub fn durable(&self)->DurableWatch{loop{}} pub fn last_applied(&self)->Lsn{loop{}} pub fn begin(self, b: crate::base::WorkBudget)->Turn{loop{}}
 pub fn name(&mut self)->Result<Option<ObjectName>,StorageError>{loop{}} pub fn size(&mut self)->Result<Option<u64>,StorageError>{loop{}}
 pub fn delete(&mut self)->Result<(bool,Lsn),StorageError>{loop{}} pub fn reset_session(&mut self){} pub fn maintain(&mut self){} }
pub struct Turn; impl Turn { pub fn apply(self)->(Database,Result<Applied,ApplyError>){loop{}} pub fn roll_back(self)->Database{loop{}} }
#[derive(Clone)] pub struct ClassRecord { pub name: ClassName, pub key: ClassKey, pub version: u64, pub digest: Digest, pub size: u64, pub created_ms: u64, pub deployed_ms: u64 }
pub struct ClassRecords; impl ClassRecords { pub fn load_all(&self)->Result<Vec<ClassRecord>,StorageError>{loop{}} pub fn save(&self,r:&ClassRecord)->Result<(),StorageError>{loop{}} pub fn remove(&self,n:&ClassName)->Result<bool,StorageError>{loop{}} pub fn put_component(&self,b:&[u8])->Result<Digest,StorageError>{loop{}} pub fn component(&self,d:&Digest)->Result<Vec<u8>,StorageError>{loop{}} }
pub struct Catalog; pub struct CatalogEntry { pub id: ObjectId, pub name: Option<ObjectName>, pub bytes: u64 } pub struct CatalogPage { pub entries: Vec<CatalogEntry>, pub cursor: Option<String> }
impl Catalog { pub fn note(&self,k:&ClassKey,e:CatalogEntry){} pub fn remove(&self,k:&ClassKey,i:&ObjectId){} pub fn list(&self,k:&ClassKey,p:Option<&str>,c:Option<&str>,l:usize)->Result<CatalogPage,StorageError>{loop{}} pub fn has_objects(&self,k:&ClassKey)->Result<bool,StorageError>{loop{}} }
