# The least that has to be said: processes on EKS, no Postgres, no security groups.
terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

module "sealstream" {
  source = "../.."

  archive_bucket    = "example-audit-archive"
  trail_bucket      = "example-audit-trail"
  access_log_bucket = "example-audit-access-logs"
  administrators    = ["arn:aws:iam::111122223333:role/infrastructure"]
  retention_days    = 2196
  log_name          = "audit.example.com/clinic"

  kafka      = { bootstrap = "b-1.audit.example.com:9096,b-2.audit.example.com:9096,b-3.audit.example.com:9096" }
  kubernetes = { cluster = "production" }
}

output "settings" {
  description = "By process: its sealstream.toml."
  value       = module.sealstream.settings
}
