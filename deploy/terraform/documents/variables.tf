variable "partition" {
  type = string
}

variable "account_id" {
  type = string
}

variable "identity" {
  type = string
}

variable "oidc_provider_arn" {
  type = string
}

variable "namespace" {
  type = string
}

variable "service_account" {
  type = string
}

variable "customer_role_arns" {
  type = list(string)
}

variable "role_arn" {
  type = string
}

variable "key_arns" {
  type = list(string)
}

variable "event_buckets" {
  type = map(object({ prefix = string }))
}
