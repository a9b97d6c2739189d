# A role for each process, also for those that need nothing of AWS: without one a process would get its machine's.
resource "aws_iam_role" "process" {
  for_each = local.processes

  name               = "${var.name}-${each.key}"
  description        = "Sealstream: ${each.key}"
  assume_role_policy = module.documents.trust_policies[each.key]
  tags               = var.tags
}

resource "aws_iam_role_policy" "archive" {
  for_each = toset(module.documents.processes_with_policy)

  name   = "archive"
  role   = aws_iam_role.process[each.key].name
  policy = module.documents.process_policies[each.key]
}

# On EKS the pod itself reads its secrets; on ECS the agent does, with a role that the container never has.
resource "aws_iam_role" "execution" {
  for_each = var.run_on == "ecs" ? var.secrets : {}

  name               = "${var.name}-${each.key}-execution"
  description        = "Sealstream: what ECS starts ${each.key} with"
  assume_role_policy = module.documents.execution_trust_policy
  tags               = var.tags
}

resource "aws_iam_role_policy" "secrets" {
  for_each = var.secrets

  name   = "secrets"
  role   = var.run_on == "ecs" ? aws_iam_role.execution[each.key].name : aws_iam_role.process[each.key].name
  policy = module.documents.secrets_policies[each.key]
}

resource "aws_eks_pod_identity_association" "process" {
  for_each = var.run_on == "eks" ? { for process, role in aws_iam_role.process : process => role.arn if !contains(keys(var.people), process) } : {}

  cluster_name    = var.kubernetes.cluster
  namespace       = var.kubernetes.namespace
  service_account = "${var.kubernetes.service_account_prefix}${each.key}"
  role_arn        = each.value
  tags            = var.tags
}
