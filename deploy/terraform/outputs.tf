output "settings" {
  description = "By process: its sealstream.toml, to which `sealstream chain create` adds the chains. It holds no secret."
  value       = module.documents.settings
}

output "postgres_dsns" {
  description = "By role of Postgres: its DSN without the password, for the secret that holds both."
  value       = module.documents.postgres_dsns
}

output "role_arns" {
  description = "By process: its role."
  value       = { for process, role in aws_iam_role.process : process => role.arn }
}

output "execution_role_arns" {
  description = "On ECS, by process: the role that its task is started with."
  value       = { for process, role in aws_iam_role.execution : process => role.arn }
}

output "security_group_ids" {
  description = "By process: its security group."
  value       = { for process, group in aws_security_group.process : process => group.id }
}

output "archive_bucket" {
  description = "The archive's bucket."
  value       = aws_s3_bucket.archive.id
}

output "archive_key_arn" {
  description = "The key that the archive's objects are encrypted with."
  value       = aws_kms_key.archive.arn
}

output "trail_arn" {
  description = "The trail."
  value       = aws_cloudtrail.this.arn
}

output "trail_files" {
  description = "Where CloudTrail's log files are, as `sealstream import cloudtrail --validate` takes it."
  value       = "s3://${aws_s3_bucket.trail.id}/AWSLogs/${local.account_id}/"
}
