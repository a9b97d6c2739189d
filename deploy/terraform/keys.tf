# The archive is readable for as long as this key is: its policy refuses to disable it or to schedule its deletion.
resource "aws_kms_key" "archive" {
  description             = "Sealstream: the archive's objects"
  deletion_window_in_days = var.archive_key_deletion_days
  enable_key_rotation     = true
  tags                    = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_key_policy" "archive" {
  key_id = aws_kms_key.archive.key_id
  policy = module.documents.archive_key_policy
}

resource "aws_kms_alias" "archive" {
  name          = "alias/${var.name}-archive"
  target_key_id = aws_kms_key.archive.key_id
}

resource "aws_kms_key" "trail" {
  description             = "Sealstream: CloudTrail's log files"
  deletion_window_in_days = var.archive_key_deletion_days
  enable_key_rotation     = true
  tags                    = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_key_policy" "trail" {
  key_id = aws_kms_key.trail.key_id
  policy = module.documents.trail_key_policy
}

resource "aws_kms_alias" "trail" {
  name          = "alias/${var.name}-trail"
  target_key_id = aws_kms_key.trail.key_id
}
