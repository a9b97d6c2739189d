locals {
  groups = var.network == null ? {} : local.processes

  with_kafka = { for process, needs in local.groups : process => needs if needs.kafka }
  with_postgres = {
    for process, needs in local.groups : process => needs
    if needs.postgres && var.postgres != null && try(var.network.postgres_security_group_id, null) != null
  }
  with_archive   = { for process, needs in local.groups : process => needs if needs.archive }
  with_endpoints = try(var.network.endpoints_security_group_id, null) == null ? {} : local.groups
}

data "aws_ec2_managed_prefix_list" "s3" {
  count = var.network == null ? 0 : 1

  name = "com.amazonaws.${local.region}.s3"
}

# Nothing may connect to a process by these groups; who serves (serve, collect, metrics) gets such a rule by hand.
resource "aws_security_group" "process" {
  #checkov:skip=CKV2_AWS_5: the processes that it is for are started elsewhere
  for_each = local.groups

  name        = "${var.name}-${each.key}"
  description = "Sealstream: ${each.key}"
  vpc_id      = var.network.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  for_each = local.with_kafka

  security_group_id            = aws_security_group.process[each.key].id
  description                  = "to Kafka"
  referenced_security_group_id = var.network.kafka_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.network.kafka_port
  to_port                      = var.network.kafka_port
}

resource "aws_vpc_security_group_ingress_rule" "kafka" {
  for_each = local.with_kafka

  security_group_id            = var.network.kafka_security_group_id
  description                  = "Sealstream: ${each.key}"
  referenced_security_group_id = aws_security_group.process[each.key].id
  ip_protocol                  = "tcp"
  from_port                    = var.network.kafka_port
  to_port                      = var.network.kafka_port
}

resource "aws_vpc_security_group_egress_rule" "postgres" {
  for_each = local.with_postgres

  security_group_id            = aws_security_group.process[each.key].id
  description                  = "to Postgres"
  referenced_security_group_id = var.network.postgres_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.postgres.port
  to_port                      = var.postgres.port
}

resource "aws_vpc_security_group_ingress_rule" "postgres" {
  for_each = local.with_postgres

  security_group_id            = var.network.postgres_security_group_id
  description                  = "Sealstream: ${each.key}"
  referenced_security_group_id = aws_security_group.process[each.key].id
  ip_protocol                  = "tcp"
  from_port                    = var.postgres.port
  to_port                      = var.postgres.port
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each = local.with_archive

  security_group_id = aws_security_group.process[each.key].id
  description       = "to S3"
  prefix_list_id    = data.aws_ec2_managed_prefix_list.s3[0].id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  for_each = local.with_endpoints

  security_group_id            = aws_security_group.process[each.key].id
  description                  = "to the interface endpoints"
  referenced_security_group_id = var.network.endpoints_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "forward" {
  for_each = var.network == null ? {} : var.forward_to

  security_group_id = aws_security_group.process["forward"].id
  description       = "to ${each.key}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}
