variable "name" {
  description = "What the names of all that is made begin with: roles, keys, trail, security groups."
  type        = string
  default     = "sealstream"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name: expected a lower-case letter, then up to 30 of a-z, 0-9 and -."
  }
}

variable "archive_bucket" {
  description = "The name of the archive's bucket. It is made here; Object Lock can only be turned on when a bucket is made."
  type        = string
}

variable "trail_bucket" {
  description = "The name of the bucket that CloudTrail writes to. Made here."
  type        = string
}

variable "access_log_bucket" {
  description = "The name of the bucket for the other two buckets' access logs. Made here."
  type        = string
}

variable "administrators" {
  description = "ARNs of the roles that alone may change the buckets' and keys' settings; * and ? stand for anything. Whoever runs Terraform must be among them."
  type        = list(string)

  validation {
    condition     = length(var.administrators) > 0 && alltrue([for each in var.administrators : can(regex("^arn:[a-z-]+:(iam|sts)::", each))])
    error_message = "administrators: expected at least one ARN of IAM. Without one nobody could change the bucket policy again but the account's root user."
  }

  validation {
    condition     = alltrue([for each in var.administrators : !can(regex("^[^/]*:\\*+$|/\\*+$", each))])
    error_message = "administrators: an ARN that ends in :* or /* names everybody."
  }
}

variable "retention_days" {
  description = "The archive bucket's default retention in days, in COMPLIANCE mode. At least that of the chain that is kept longest (hipaa: 2196, pci: 732, soc2: 366). It can be lengthened, and what is locked can't be taken back."
  type        = number

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 36500 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days: expected whole days, 1 to 36500."
  }
}

variable "shortest_lock_days" {
  description = "The bucket policy refuses to set a lock that ends sooner than this many days from now. Lower it before you bring back entries whose retention is almost over."
  type        = number
  default     = 90

  validation {
    condition     = var.shortest_lock_days >= 0 && floor(var.shortest_lock_days) == var.shortest_lock_days
    error_message = "shortest_lock_days: expected whole days; 0 refuses nothing."
  }
}

variable "trail_retention_days" {
  description = "The default retention of CloudTrail's log files, in COMPLIANCE mode."
  type        = number
  default     = 2196
}

variable "access_log_days" {
  description = "After so many days access logs are deleted. They can't be locked: S3 delivers none to a bucket with a default retention."
  type        = number
  default     = 400
}

variable "archive_transition_days" {
  description = "After so many days objects of the archive go to Glacier Instant Retrieval, which is read as before, at another price. null: never."
  type        = number
  default     = null
}

variable "archive_key_deletion_days" {
  description = "How long KMS waits before it deletes a key. The key policies refuse to schedule that at all until somebody changes them."
  type        = number
  default     = 30
}

variable "run_on" {
  description = "Where the processes run: eks (Pod Identity), oidc (an EKS cluster with IAM roles for service accounts, or any other OIDC issuer), ecs."
  type        = string
  default     = "eks"

  validation {
    condition     = contains(["eks", "oidc", "ecs"], var.run_on)
    error_message = "run_on: expected eks, oidc or ecs."
  }
}

variable "kubernetes" {
  description = "For run_on eks or oidc: the cluster's name, the namespace, and what the service accounts' names begin with (<prefix><process>). For oidc also the provider's ARN and the issuer without https://."
  type = object({
    cluster                = optional(string, "")
    namespace              = optional(string, "sealstream")
    service_account_prefix = optional(string, "sealstream-")
    oidc_provider_arn      = optional(string, "")
    oidc_issuer            = optional(string, "")
  })
  default = {}
}

variable "people" {
  description = "By role (operator, verifier, import, lake): the ARNs of IAM roles and users that may assume it, in place of a process. A role that is not named is a process's."
  type        = map(list(string))
  default     = {}

  validation {
    condition     = alltrue([for role, arns in var.people : contains(["operator", "verifier", "import", "lake"], role) && length(arns) > 0])
    error_message = "people: expected operator, verifier, import or lake, each with at least one ARN."
  }

  validation {
    condition     = alltrue(flatten([for role, arns in var.people : [for arn in arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*]+$", arn))]]))
    error_message = "people: expected ARNs of IAM roles or users, without *."
  }
}

variable "secrets" {
  description = "By process: the secrets of Secrets Manager that it is given (its Kafka password, its DSN; checkpointing: its signing key), and the keys of KMS that they are encrypted with. Their contents never pass through here."
  type = map(object({
    arns         = list(string)
    kms_key_arns = list(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for process, given in var.secrets : length(given.arns) > 0 && length(given.kms_key_arns) > 0])
    error_message = "secrets: each process that is named needs at least one secret and one key."
  }
}

variable "kafka" {
  description = "The MSK cluster: its brokers for SASL/SCRAM (host:port, with commas between), how many replicas topics get, and what the names of topics begin with."
  type = object({
    bootstrap   = string
    replication = optional(number, 3)
    prefix      = optional(string, "audit")
  })

  validation {
    condition     = can(regex("^[^:,\\s]+:[0-9]+(,[^:,\\s]+:[0-9]+)*$", var.kafka.bootstrap))
    error_message = "kafka.bootstrap: expected host:port, several with commas between and no spaces."
  }
}

variable "postgres" {
  description = "The RDS instance or cluster: where it is, the database, and the CA file of RDS where the processes see it. null: there is no Postgres."
  type = object({
    host     = string
    port     = optional(number, 5432)
    database = optional(string, "sealstream")
    ca_file  = optional(string, "/etc/sealstream/rds-ca.pem")
  })
  default = null
}

variable "log_name" {
  description = "The log's name, sealed in entry 0: a URL without scheme, as in audit.example.com/clinic."
  type        = string
}

variable "secrets_directory" {
  description = "The folder in which each process finds its secrets as files."
  type        = string
  default     = "/run/secrets"
}

variable "network" {
  description = "The VPC, the security groups of MSK and RDS (rules that let the processes in are added to them), and that of the interface endpoints (KMS, Secrets Manager, ECR, ...) if there are any. null: no security groups are made."
  type = object({
    vpc_id                      = string
    kafka_security_group_id     = string
    kafka_port                  = optional(number, 9096)
    postgres_security_group_id  = optional(string)
    endpoints_security_group_id = optional(string)
  })
  default = null
}

variable "forward_to" {
  description = "Where the forward sink may connect to, beside network: by any name, a CIDR block and a port (webhooks and most SIEMs: 443, syslog over TLS: 6514)."
  type = map(object({
    cidr = string
    port = number
  }))
  default = {}
}

variable "tags" {
  description = "Tags of all that is made."
  type        = map(string)
  default     = {}
}
