variable "partition" {
  description = "aws, aws-cn, aws-us-gov, ..."
  type        = string
}

variable "region" {
  description = "The region of all that is made."
  type        = string
}

variable "account_id" {
  description = "The account of all that is made."
  type        = string
}

variable "name" {
  description = "What the roles' names begin with."
  type        = string
}

variable "archive_bucket" {
  description = "The archive's bucket."
  type        = string
}

variable "trail_bucket" {
  description = "The bucket that CloudTrail writes to."
  type        = string
}

variable "access_log_bucket" {
  description = "The bucket of access logs."
  type        = string
}

variable "archive_key_arn" {
  description = "The key of the archive's objects."
  type        = string
}

variable "trail_key_arn" {
  description = "The key of CloudTrail's log files."
  type        = string
}

variable "trail_arn" {
  description = "The trail."
  type        = string
}

variable "administrators" {
  description = "Who alone may change buckets and keys: patterns of ARNs."
  type        = list(string)
}

variable "shortest_lock_days" {
  description = "A lock that ends sooner is refused."
  type        = number
}

variable "run_on" {
  description = "eks, oidc or ecs."
  type        = string
}

variable "kubernetes" {
  description = "Cluster, namespace, service accounts and OIDC provider."
  type = object({
    cluster                = string
    namespace              = string
    service_account_prefix = string
    oidc_provider_arn      = string
    oidc_issuer            = string
  })
}

variable "processes" {
  description = "What each process connects to."
  type = map(object({
    kafka    = bool
    postgres = bool
    archive  = bool
  }))
}

variable "people" {
  description = "By role: who may assume it, in place of a process."
  type        = map(list(string))
}

variable "secrets" {
  description = "By process: the secrets that it is given, and their keys."
  type = map(object({
    arns         = list(string)
    kms_key_arns = list(string)
  }))
}

variable "kafka" {
  description = "The MSK cluster."
  type = object({
    bootstrap   = string
    replication = number
    prefix      = string
  })
}

variable "postgres" {
  description = "The RDS instance or cluster, or null."
  type = object({
    host     = string
    port     = number
    database = string
    ca_file  = string
  })
}

variable "log_name" {
  description = "The log's name."
  type        = string
}

variable "secrets_directory" {
  description = "Where a process finds its secrets."
  type        = string
}
