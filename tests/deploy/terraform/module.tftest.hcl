# The whole module is planned and applied, with AWS played by Terraform (test_terraform_provider.py runs it).
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { id = "eu-central-1" }
  }
  mock_data "aws_ec2_managed_prefix_list" {
    defaults = { id = "pl-12345678" }
  }
  mock_resource "aws_kms_key" {
    defaults = {
      arn    = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000000"
      key_id = "00000000-0000-4000-8000-000000000000"
    }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::example" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/example" }
  }
}

variables {
  archive_bucket    = "example-audit-archive"
  trail_bucket      = "example-audit-trail"
  access_log_bucket = "example-audit-access-logs"
  administrators    = ["arn:aws:iam::111122223333:role/infrastructure"]
  retention_days    = 2196
  log_name          = "audit.example.com/clinic"
  kafka             = { bootstrap = "b-1.example.com:9096" }
  kubernetes        = { cluster = "production" }
}

run "minimal" {
  assert {
    condition     = aws_s3_bucket_object_lock_configuration.archive.rule[0].default_retention[0].days == 2196
    error_message = "the archive's default retention is not what was asked for"
  }
  assert {
    condition     = length(aws_iam_role.process) == 15 && length(aws_iam_role_policy.archive) == 7
    error_message = "a process lacks its role, or has a policy that it should not have"
  }
  assert {
    condition     = length(aws_eks_pod_identity_association.process) == 15
    error_message = "a process on EKS is not tied to its role"
  }
  assert {
    condition     = length(aws_security_group.process) == 0 && length(aws_iam_role_policy.secrets) == 0
    error_message = "something was made that nobody asked for"
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.archive.policy).Statement[2].Sid == "NobodyDeletes"
    error_message = "the archive's bucket has another policy"
  }
  assert {
    condition     = output.trail_files == "s3://${aws_s3_bucket.trail.id}/AWSLogs/111122223333/"
    error_message = "trail_files is not where CloudTrail writes"
  }
}

run "complete" {
  variables {
    archive_transition_days = 90
    people                  = { operator = ["arn:aws:iam::111122223333:role/operators"] }
    postgres                = { host = "db.example.com" }
    secrets = {
      sequencer = {
        arns         = ["arn:aws:secretsmanager:eu-central-1:111122223333:secret:AmazonMSK_sequencer-AbCdEf"]
        kms_key_arns = ["arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000001"]
      }
    }
    network = {
      vpc_id                      = "vpc-12345678"
      kafka_security_group_id     = "sg-11111111"
      postgres_security_group_id  = "sg-22222222"
      endpoints_security_group_id = "sg-33333333"
    }
    forward_to = { pager = { cidr = "203.0.113.0/24", port = 443 } }
  }

  assert {
    condition     = length(aws_eks_pod_identity_association.process) == 14
    error_message = "a role of people is tied to a pod"
  }
  assert {
    condition     = aws_iam_role_policy.secrets["sequencer"].role == aws_iam_role.process["sequencer"].name
    error_message = "on EKS the pod itself reads its secrets"
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_egress_rule.postgres)) == toset(["anomaly", "import", "operator", "postgres-sink", "serve", "verifier", "watch"])
    error_message = "somebody else reaches Postgres"
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_egress_rule.s3)) == toset(["archive-sink", "import", "lake", "operator", "serve", "verifier", "watch"])
    error_message = "somebody else reaches S3"
  }
  assert {
    condition     = length(aws_vpc_security_group_egress_rule.kafka) == 14 && !contains(keys(aws_vpc_security_group_egress_rule.kafka), "lake")
    error_message = "somebody else reaches Kafka"
  }
  assert {
    condition     = aws_vpc_security_group_egress_rule.forward["pager"].security_group_id == aws_security_group.process["forward"].id
    error_message = "another than the forward sink reaches its target"
  }
  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.archive.rule) == 2
    error_message = "nothing moves to another storage class"
  }
}

run "ecs" {
  variables {
    run_on = "ecs"
    secrets = {
      sequencer = {
        arns         = ["arn:aws:secretsmanager:eu-central-1:111122223333:secret:AmazonMSK_sequencer-AbCdEf"]
        kms_key_arns = ["arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000001"]
      }
    }
  }

  assert {
    condition     = length(aws_eks_pod_identity_association.process) == 0
    error_message = "there is no pod on ECS"
  }
  assert {
    condition     = aws_iam_role_policy.secrets["sequencer"].role == aws_iam_role.execution["sequencer"].name
    error_message = "on ECS the container never has the right to its secrets"
  }
}

run "an_administrator_is_needed" {
  command = plan
  variables {
    administrators = []
  }
  expect_failures = [var.administrators]
}
